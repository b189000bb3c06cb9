/* libmoshi: the Mimi codec and the Moshi family of speech-text models.
 *
 * A model is immutable and shared by every stream of the process; a stream
 * (MimiEncoder, MimiDecoder, MoshiSession) owns all that changes, in memory
 * taken when it is made. Nothing in a step allocates, logs, or touches a disk.
 *
 * Every stream has a batch of slots, each a conversation of its own; a step
 * advances the slots of a run mask by one frame of 80 ms. A slot's results
 * depend on its own input alone: not on the batch around it, on how input was
 * chunked, or on the number of threads. (On a CUDA card the last bits of a language
 * model's logits differ between frames of up to eight running slots and of more.)
 *
 * Units: PCM is mono f32 at 24 kHz, nominal ±1, not clipped. A frame is
 * moshi_model_info()->frame_size samples. Codes are indices below
 * codebook_size, first codebook first. Tokens are as in the reference's LMGen
 * (moshi/models/lm.py): −1 is "no input", −2 is "not ready yet".
 *
 * Threads: a model may be used from any number of threads. A stream is used by
 * one thread at a time. Streams of several threads share their steps as slots of
 * the process's batches: see MoshiSlot.
 *
 * Errors: functions that can fail return 0 or a negative MoshiStatus, or NULL,
 * and describe it in *error when error is not NULL: one line, which names the
 * thing that is wrong and the cure.
 */
#ifndef MOSHI_H
#define MOSHI_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MOSHI_VERSION_MAJOR 0
#define MOSHI_VERSION_MINOR 1
#define MOSHI_VERSION_MICRO 0

#if defined(__GNUC__)
#define MOSHI_API __attribute__((visibility("default")))
#else
#define MOSHI_API
#endif

typedef enum {
  MOSHI_OK = 0,
  MOSHI_ERROR_ARGUMENT = -1,  /* the caller's mistake */
  MOSHI_ERROR_NOT_FOUND = -2, /* no such model, file or device */
  MOSHI_ERROR_READ = -3,      /* a file that cannot be read */
  MOSHI_ERROR_FORMAT = -4,    /* a file that is broken or hostile */
  MOSHI_ERROR_MODEL = -5,     /* a sound file, not a model we can run */
  MOSHI_ERROR_MEMORY = -6,    /* not enough memory */
  MOSHI_ERROR_DEVICE = -7,    /* the device failed */
  MOSHI_ERROR_CANCELLED = -8,
} MoshiStatus;

typedef struct {
  MoshiStatus status;
  char message[1024]; /* UTF-8, one line, no newline */
} MoshiError;

/* ---------------------------------------------------------------- model */

typedef struct MoshiModel MoshiModel;

/* The parts of a model that a user of it needs; only these are looked for,
 * checked and loaded. */
enum {
  MOSHI_PART_ENCODER = 1 << 0, /* Mimi, PCM to codes */
  MOSHI_PART_DECODER = 1 << 1, /* Mimi, codes to PCM */
  MOSHI_PART_LM = 1 << 2,      /* the language model */
  MOSHI_PART_TEXT = 1 << 3,    /* its tokenizer, for MoshiText; only with the LM */
};

typedef struct {
  /* A directory, a checkpoint file, or a hub repository id such as
   * "kyutai/moshika-pytorch-bf16". NULL: $MOSHI_MODEL, else the model in the
   * data directories. */
  const char *model;
  unsigned parts;
  const char *device; /* "auto" (or NULL), "cpu", "cuda", "cuda:N" */
  int threads;        /* 0: the machine's cores */
  /* What the language model's weights are converted to when they are loaded: "none" (or
   * NULL), "q8", "q4". The result is kept for the next time: see $MOSHI_CACHE in
   * docs/model-files.md. */
  const char *quantization;
  /* Mimi's matrices: "f32" (or NULL), exact; "bf16" rounds them, which takes half of
   * the memory and less time, and changes some codes. */
  const char *mimi_weights;
} MoshiModelOptions;

typedef struct {
  const char *path;       /* where it was found; for messages */
  const char *model_type; /* "mimi", "moshi", "hibiki", "stt", "tts" … */
  /* Mimi: 0 where neither part was asked for. */
  int sample_rate, frame_size; /* 24000, 1920 */
  int codebooks;               /* that the file holds */
  int codebook_size;           /* entries of one */
  int default_codebooks;       /* that the LM beside it works with, else 8 */
  const char
      *codec_id; /* hash of the codebooks: equal ids, equal codes; "" without one */
  /* Language model: 0 where it was not asked for. */
  int user_codebooks; /* codes it hears in a step */
  int own_codebooks;  /* codes it speaks in a step; 0 for speech-to-text */
  int lm_codebook_size;
  int text_size;    /* text vocabulary */
  int text_padding; /* token of a step without text */
  int max_delay;    /* frames between a step and the frame it completes */
  int context;      /* steps of attention */
  int extra_heads, extra_head_size;
  /* The sampling the model's configuration asks for. */
  float temperature, text_temperature;
  int top_k, text_top_k;
  float audio_delay;    /* seconds by which text trails audio (stt_config) */
  float silence_prefix; /* seconds of silence wanted first (stt_config) */
} MoshiModelInfo;

/* Finds the model and checks all its files: names, shapes and types of every
 * tensor. Takes milliseconds; weights are not read yet. */
MOSHI_API MoshiModel *moshi_model_open(
    const MoshiModelOptions *options, MoshiError *error);
MOSHI_API MoshiModel *moshi_model_ref(MoshiModel *model);
MOSHI_API void moshi_model_unref(MoshiModel *model); /* NULL is fine */

/* Told the share that is done, 0 to 1, from the loading thread; a return other
 * than 0 cancels. */
typedef int (*MoshiProgress)(void *cookie, double done);

/* Reads the weights; blocks until they can be used. Weights that another model
 * of the process has loaded (same file, device and threads) are shared, and a
 * load under way elsewhere is waited for. Calling it again is cheap. */
MOSHI_API int moshi_model_load(
    MoshiModel *model, MoshiProgress progress, void *cookie, MoshiError *error);

MOSHI_API const MoshiModelInfo *moshi_model_info(const MoshiModel *model);
/* "cpu (avx2, 2 threads)" or the card's name. */
MOSHI_API const char *moshi_model_device(const MoshiModel *model);

/* ----------------------------------------------------------------- Mimi */

typedef struct MimiEncoder MimiEncoder;
typedef struct MimiDecoder MimiDecoder;

/* The model must be loaded; the stream keeps a reference. 1 ≤ codebooks ≤
 * info->codebooks. */
MOSHI_API MimiEncoder *mimi_encoder_new(
    MoshiModel *model, int batch, int codebooks, MoshiError *error);
MOSHI_API void mimi_encoder_free(MimiEncoder *encoder);
/* pcm [batch][frame_size] → codes [batch][codebooks]. run [batch]: slots whose
 * entry is 0 are left out (their input is not read, their output not written,
 * their state unchanged); NULL runs all. */
MOSHI_API int mimi_encoder_step(MimiEncoder *encoder, const float *pcm,
    const uint8_t *run, uint16_t *codes, MoshiError *error);
/* Starts the given slots anew; slots [batch] as run above. */
MOSHI_API void mimi_encoder_reset(MimiEncoder *encoder, const uint8_t *slots);

MOSHI_API MimiDecoder *mimi_decoder_new(
    MoshiModel *model, int batch, MoshiError *error);
MOSHI_API void mimi_decoder_free(MimiDecoder *decoder);
/* codes [batch][codebooks] → pcm [batch][frame_size]. 1 ≤ codebooks ≤
 * info->codebooks, and may change between steps. A code ≥ codebook_size in a
 * running slot is MOSHI_ERROR_ARGUMENT, and then nothing was done. */
MOSHI_API int mimi_decoder_step(MimiDecoder *decoder, const uint16_t *codes,
    int codebooks, const uint8_t *run, float *pcm, MoshiError *error);
MOSHI_API void mimi_decoder_reset(MimiDecoder *decoder, const uint8_t *slots);

/* ------------------------------------------------------- language model */

typedef struct MoshiSession MoshiSession;

#define MOSHI_TOKEN_NONE (-1)      /* no input: embeds to zero */
#define MOSHI_TOKEN_NOT_READY (-2) /* output: not produced yet */
#define MOSHI_MAX_REPETITION_CONTEXT 200

typedef struct {
  float temperature, text_temperature; /* ≤ 0: greedy */
  int top_k, text_top_k;               /* 0: all */
  uint64_t seed;
  /* Of the text, as Kyutai's Rust server has them; 0: off. Padding is drawn
   * e^padding_bonus times as often (never when greedy). A token among the last
   * repetition_context spoken ones has its logit divided by the penalty, or
   * multiplied where it is negative; padding is not spoken. */
  float padding_bonus, repetition_penalty;
  int repetition_context; /* at most MOSHI_MAX_REPETITION_CONTEXT */
} MoshiSampling;

/* One condition of a model that has conditioners. For a "lut" the value is one
 * of its names; for a "tensor" data is [length][size], and mask [length] (0:
 * use the learnt padding) may be NULL. A condition that is not given, and with
 * guidance the branch without conditions, is the learnt padding; null_value
 * gives a "lut" another value in that branch. */
typedef struct {
  const char *name;
  const char *value;
  const float *data;
  int length, size;
  const uint8_t *mask;
  const char *null_value;
} MoshiCondition;

typedef struct {
  int batch;
  int context;            /* 0: the model's; else at most it */
  MoshiSampling sampling; /* of every slot, until changed */
  const MoshiCondition *conditions;
  int n_conditions;
  float cfg_coef; /* 1: no classifier-free guidance; else the work doubles */
  /* How keys and values are kept: "f32" (or NULL), "bf16" (half the memory) or
   * "int8" (a quarter; a scale for each key and value of a head). */
  const char *kv_type;
} MoshiSessionOptions;

/* batch 1, the model's own sampling with seed 0, no conditions. */
MOSHI_API void moshi_session_options_init(
    MoshiSessionOptions *options, const MoshiModel *model);
/* Seeds: slot i draws from its own stream, of seed + i. */
MOSHI_API MoshiSession *moshi_session_new(
    MoshiModel *model, const MoshiSessionOptions *options, MoshiError *error);
MOSHI_API void moshi_session_free(MoshiSession *session);

/* One step, as the reference's LMGen.step.
 * user [batch][user_codebooks]: codes heard, or −1 for none; ≤ lm_codebook_size
 * (that value itself is the model's initial token).
 * tokens [batch][1 + own_codebooks]: text and codes with their delays undone,
 * all −2 while the slot's first max_delay steps have not passed, and where it
 * does not run.
 * text [batch], may be NULL: the text token sampled in this very step, which
 * tokens will show max_delay steps later; −2 where the slot does not run.
 * A user code out of range is MOSHI_ERROR_ARGUMENT, and then nothing was done. */
MOSHI_API int moshi_session_step(MoshiSession *session, const int32_t *user,
    const uint8_t *run, int32_t *tokens, int32_t *text, MoshiError *error);
/* Starts the given slots anew, draws included; conditions and sampling stay.
 * slots [batch] as run above. */
MOSHI_API void moshi_session_reset(MoshiSession *session, const uint8_t *slots);
/* From the slot's next step on. The seed takes effect at once. */
MOSHI_API void moshi_session_set_sampling(
    MoshiSession *session, int slot, const MoshiSampling *sampling);

/* Of the last step in which the slot ran, guidance applied, padding_bonus and
 * repetition_penalty not; owned by the session, valid until its next step. text:
 * [text_out], audio: [own_codebooks][lm_codebook_size], heads: softmax,
 * [extra_heads][extra_head_size] (NULL where the model has none). */
MOSHI_API const float *moshi_session_text_logits(
    const MoshiSession *session, int slot, int *text_out);
MOSHI_API const float *moshi_session_audio_logits(
    const MoshiSession *session, int slot);
MOSHI_API const float *moshi_session_extra_heads(const MoshiSession *session, int slot);

/* ------------------------------------------------------- shared batches */

/* One stream in a batch that the process shares: of Mimi's encoders, its decoders, or
 * conversations. Slots of the same weights on the same device are stepped together:
 * the thread that finds the batch idle steps all that have put a frame in, the others
 * wait for theirs. None waits for frames that are not there yet, so a lone slot is
 * stepped at once. What comes out has the bits of a stream of its own.
 *
 * Encoders share their steps if they have the same number of codebooks, conversations
 * if context, kv_type, cfg_coef and conditions are equal (conditions given as data are
 * never shared); sampling is each one's own. Where weights are so small that they stay
 * in the processor's cache there is nothing to share, and slots are stepped beside
 * each other.
 *
 * A slot is used by one thread at a time, but for moshi_slot_cancel. */
typedef struct MoshiSlot MoshiSlot;

MOSHI_API MoshiSlot *mimi_encoder_slot_new(
    MoshiModel *model, int codebooks, MoshiError *error);
MOSHI_API MoshiSlot *mimi_decoder_slot_new(MoshiModel *model, MoshiError *error);
/* options->batch must be 1. */
MOSHI_API MoshiSlot *moshi_session_slot_new(
    MoshiModel *model, const MoshiSessionOptions *options, MoshiError *error);
MOSHI_API void moshi_slot_free(MoshiSlot *slot); /* NULL is fine */

/* As the streams' own steps, in a batch of one. An error of the device is that of
 * all slots that were in the step, an error of an argument only its slot's. */
MOSHI_API int mimi_encoder_slot_step(
    MoshiSlot *slot, const float *pcm, uint16_t *codes, MoshiError *error);
MOSHI_API int mimi_decoder_slot_step(MoshiSlot *slot, const uint16_t *codes,
    int codebooks, float *pcm, MoshiError *error);
MOSHI_API int moshi_session_slot_step(MoshiSlot *slot, const int32_t *user,
    int32_t *tokens, int32_t *text, MoshiError *error);
MOSHI_API void moshi_session_slot_set_sampling(
    MoshiSlot *slot, const MoshiSampling *sampling);
/* Of the last step; NULL where the model has none. */
MOSHI_API const float *moshi_session_slot_extra_heads(const MoshiSlot *slot);

/* Starts the slot anew. */
MOSHI_API void moshi_slot_reset(MoshiSlot *slot);
/* From any thread. Other than 0: a frame that waits for its step is taken back, and
 * steps fail with MOSHI_ERROR_CANCELLED until this is called with 0. A step that is
 * being made is finished. */
MOSHI_API void moshi_slot_cancel(MoshiSlot *slot, int cancelled);

/* How the slot's last frame came to its step. */
typedef struct {
  int batch;         /* slots that were in it */
  int64_t waited_us; /* from the frame's coming until its step began */
  int64_t step_us;   /* that the step took */
} MoshiTurn;

MOSHI_API void moshi_slot_turn(const MoshiSlot *slot, MoshiTurn *turn);

/* ----------------------------------------------------------------- text */

/* Turns text tokens into UTF-8, one at a time, for one stream. */
typedef struct MoshiText MoshiText;

MOSHI_API MoshiText *moshi_text_new(MoshiModel *model, MoshiError *error);
MOSHI_API void moshi_text_free(MoshiText *text);
/* The text this token adds, "" for control, padding and unfinished byte
 * pieces. A leading space marks the start of a word. Owned by *text, valid
 * until the next call. */
MOSHI_API const char *moshi_text_push(MoshiText *text, int32_t token);
/* What is left of an unfinished character (U+FFFD), and starts anew. */
MOSHI_API const char *moshi_text_flush(MoshiText *text);

/* ------------------------------------------------------------------ log */

typedef enum { MOSHI_LOG_WARNING, MOSHI_LOG_INFO, MOSHI_LOG_DEBUG } MoshiLogLevel;
typedef void (*MoshiLogFunction)(
    void *cookie, MoshiLogLevel level, const char *message);
/* Where the library reports what is not an error, such as an unused tensor; NULL:
 * nowhere, the default. Set it before the library is used. */
MOSHI_API void moshi_set_log(MoshiLogFunction log, void *cookie);

#ifdef __cplusplus
}
#endif
#endif
