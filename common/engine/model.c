/* Models: found and checked when opened, loaded once a process.
 *
 * A MoshiModel is a handle on up to three parts (encoder, decoder, language model). A
 * part's weights live in one table of the process, keyed by the identity of its file,
 * the configuration, and the device: whoever asks for a part that is there, or on its
 * way, shares it, and the last user frees it. */
#include "model.h"

#include <glib.h>
#include <string.h>
#include <sys/stat.h>

#include "../error.h"
#include "cache.h"
#include "memory.h"
#include "prefault.h"

typedef enum { PART_ENCODER, PART_DECODER, PART_LM, N_PARTS } PartKind;
typedef enum { PART_LOADING, PART_READY, PART_FAILED } PartState;

typedef struct {
  char *key;
  int users; /* of the table's lock, like state and done */
  PartState state;
  double done;
  PartKind kind;
  void *weights;
  MoshiDevice *device;
  MoshiCheckpoint *checkpoint; /* weights may point into its mapping */
} Part;

/* Share of the progress that a conversion has, the rest is the load's. */
#define CONVERSION_SHARE 0.9

struct MoshiModel {
  gint users;
  MoshiModelInfo info;
  char codec_id[17];
  unsigned parts;
  int threads;
  MoshiQuantization quantization;
  MoshiConversion *conversion; /* of the language model, NULL: as its file has it */
  char *device_name;
  MoshiDevice *device;
  MoshiModelFiles files;
  MoshiInvention invention; /* without a source: the model has files */
  MimiConfig mimi_config;
  MoshiType mimi_type;
  MoshiCheckpoint *checkpoint[N_PARTS];
  size_t bytes[N_PARTS]; /* that the part's load will read */
  MoshiTokenizer *tokenizer;
  GMutex loading;
  Part *part[N_PARTS]; /* set once, under `loading` */
};

static GMutex table_lock;
static GCond table_changed;
static GHashTable *table; /* key → Part */

static bool
wants(const MoshiModel *m, PartKind kind)
{
  return m->parts & (1u << kind);
}

/* ---------------------------------------------------------------------- parts */

static MoshiLoader
make_loader(const MoshiModel *m, PartKind kind, MoshiError *error)
{
  return (MoshiLoader){.checkpoint = m->checkpoint[kind],
      .source = m->invention.source,
      .forget = m->invention.forget,
      .source_cookie = m->invention.cookie,
      .packed = m->mimi_type,
      .error = error};
}

static void *
walk_weights(const MoshiModel *m, PartKind kind, MoshiLoader *l)
{
  switch (kind) {
  case PART_ENCODER:
    return mimi_encoder_weights_load(l, &m->mimi_config);
  case PART_DECODER:
    return mimi_decoder_weights_load(l, &m->mimi_config);
  default:
    return moshi_lm_weights_load(l, m->files.lm_config);
  }
}

static void
part_free(Part *part)
{
  if (part->weights) {
    if (part->kind == PART_ENCODER)
      mimi_encoder_weights_free(part->weights, part->device);
    else if (part->kind == PART_DECODER)
      mimi_decoder_weights_free(part->weights, part->device);
    else
      moshi_lm_weights_free(part->weights, part->device);
  }
  moshi_device_close(part->device);
  moshi_checkpoint_unref(part->checkpoint);
  g_free(part->key);
  g_free(part);
}

static void
part_unref(Part *part)
{
  if (!part)
    return;
  g_mutex_lock(&table_lock);
  bool last = --part->users == 0;
  if (last && part->state != PART_FAILED)
    g_hash_table_remove(table, part->key);
  if (last && table && g_hash_table_size(table) == 0)
    g_clear_pointer(&table, g_hash_table_unref);
  g_mutex_unlock(&table_lock);
  if (last)
    part_free(part);
}

/* The part's key: what makes its weights what they are. */
static char *
part_key(const MoshiModel *m, PartKind kind)
{
  const char *config = kind == PART_LM ? m->files.config : m->files.mimi_config;
  struct stat st = {0};
  if (config)
    stat(config, &st);
  bool converted = kind == PART_LM && m->conversion;
  int type = kind != PART_LM ? (int)m->mimi_type : converted ? (int)m->quantization : 0;
  return g_strdup_printf("%d|%s|%llu.%llu.%lld.%ld|%s|%d|%d", kind,
      moshi_checkpoint_identity(m->checkpoint[kind]), (unsigned long long)st.st_dev,
      (unsigned long long)st.st_ino, (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec,
      m->device_name, m->threads, type);
}

/* The caller's progress over several parts, and the table's for those who wait. */
typedef struct {
  Part *part;
  MoshiProgress progress;
  void *cookie;
  double before, share; /* of the whole */
  double begun, phase;  /* of the part: done before this phase of it, and its share */
} PartProgress;

static int
report(const PartProgress *p, double done)
{
  return p->progress ? p->progress(p->cookie, p->before + p->share * done) : 0;
}

static int
on_progress(void *cookie, double done)
{
  PartProgress *p = cookie;
  done = p->begun + p->phase * done;
  g_mutex_lock(&table_lock);
  p->part->done = done;
  g_mutex_unlock(&table_lock);
  return report(p, done);
}

/* The weights as they are to be used, on the part. */
static int
convert_part(MoshiModel *m, Part *part, PartProgress *p, MoshiError *error)
{
  if (part->kind != PART_LM || !m->conversion) {
    part->checkpoint = moshi_checkpoint_ref(m->checkpoint[part->kind]);
    return 0;
  }
  p->phase = CONVERSION_SHARE;
  part->checkpoint =
      moshi_cache_converted(m->conversion, m->threads, on_progress, p, error);
  p->begun = part->done;
  p->phase = 1 - p->begun;
  return part->checkpoint ? 0 : error->status;
}

/* Codecs are copied as they are loaded, and all that goes to a card. What a language
 * model multiplies with on the CPU stays mapped, and is read after the walk, but for
 * what the device packs. */
static int
walk_part(MoshiModel *m, Part *part, PartProgress *p, MoshiError *error)
{
  bool mapped =
      part->kind == PART_LM && !m->invention.source && !part->device->ops->available;
  MoshiLoader l = make_loader(m, part->kind, error);
  if (part->checkpoint != m->checkpoint[part->kind]) {
    l.checkpoint = part->checkpoint;
    l.source = NULL;
  }
  l.device = part->device;
  l.progress = on_progress;
  l.cookie = p;
  l.total = m->bytes[part->kind];
  l.copied = mapped ? g_array_new(FALSE, FALSE, sizeof(const void *)) : NULL;
  part->weights = walk_weights(m, part->kind, &l);
  if (!mapped)
    return l.status;
  const double copied = p->phase * MIN(1.0, (double)l.done / MAX(l.total, 1));
  p->begun += copied;
  p->phase -= copied;
  int status = l.status;
  if (!status)
    status =
        moshi_prefault(part->checkpoint, l.copied, m->threads, on_progress, p, error);
  g_array_unref(l.copied);
  return status;
}

/* Refuses weights that would not fit where they are to be. */
static int
check_memory(const MoshiModel *m, PartKind kind, MoshiError *error)
{
  const char *path = moshi_checkpoint_path(m->checkpoint[kind]);
  MoshiDevice *d = m->device;
  if (!d->ops->available)
    return moshi_memory_check(m->bytes[kind], path, error);
  const uint64_t available = d->ops->available(d);
  if (m->bytes[kind] <= available)
    return 0;
  return moshi_fail(error, MOSHI_ERROR_MEMORY,
      "%s: its weights need %.1f GB and %s has %.1f GB free; use a smaller or "
      "quantised "
      "model, or another device",
      path, m->bytes[kind] / 1e9, d->description, available / 1e9);
}

static int
load_part(MoshiModel *m, Part *part, PartProgress *p, MoshiError *error)
{
  const MoshiCheckpoint *source = m->checkpoint[part->kind];
  p->begun = 0;
  p->phase = 1;
  int status = moshi_checkpoint_verify(source, error);
  if (!status)
    status = check_memory(m, part->kind, error);
  if (!status)
    status = convert_part(m, part, p, error);
  if (status)
    return status;
  part->device = moshi_device_open(m->device_name, m->threads, error);
  return part->device ? walk_part(m, part, p, error) : error->status;
}

/* Waits for a part that somebody else loads; returns whether it is ready. The reference
 * taken keeps the part alive. */
static bool
wait_for_part(Part *part, const PartProgress *p, int *status, MoshiError *error)
{
  while (part->state == PART_LOADING && !*status) {
    g_cond_wait_until(&table_changed, &table_lock,
        g_get_monotonic_time() + 50 * G_TIME_SPAN_MILLISECOND);
    double done = part->done;
    g_mutex_unlock(&table_lock);
    if (report(p, done))
      *status = moshi_fail(error, MOSHI_ERROR_CANCELLED, "loading was cancelled");
    g_mutex_lock(&table_lock);
  }
  return part->state == PART_READY;
}

static Part *
obtain_part(MoshiModel *m, PartKind kind, PartProgress *p, MoshiError *error)
{
  char *key = part_key(m, kind);
  Part *part = NULL;
  int status = 0;
  g_mutex_lock(&table_lock);
  while (!status) {
    if (!table)
      table = g_hash_table_new(g_str_hash, g_str_equal);
    part = g_hash_table_lookup(table, key);
    if (!part)
      break;
    part->users++;
    bool ready = wait_for_part(part, p, &status, error);
    if (ready && !status) {
      g_mutex_unlock(&table_lock);
      g_free(key);
      return part;
    }
    /* Its loader failed or gave up: that is his error, so try ourselves. */
    g_mutex_unlock(&table_lock);
    part_unref(part);
    g_mutex_lock(&table_lock);
  }
  if (status) {
    g_mutex_unlock(&table_lock);
    g_free(key);
    return NULL;
  }
  part = g_new0(Part, 1);
  *part = (Part){.key = key, .users = 1, .kind = kind};
  g_hash_table_insert(table, key, part);
  g_mutex_unlock(&table_lock);

  p->part = part;
  status = load_part(m, part, p, error);
  g_mutex_lock(&table_lock);
  part->state = status ? PART_FAILED : PART_READY;
  if (status)
    g_hash_table_remove(table, key);
  g_cond_broadcast(&table_changed);
  g_mutex_unlock(&table_lock);
  if (status)
    g_clear_pointer(&part, part_unref);
  return part;
}

/* ----------------------------------------------------------------------- open */

static int
check_part(MoshiModel *m, PartKind kind, MoshiError *error)
{
  MoshiLoader l = make_loader(m, kind, error);
  walk_weights(m, kind, &l);
  m->bytes[kind] = l.done;
  return l.status;
}

static MoshiCheckpoint *
open_checkpoint(const MoshiModel *m, const char *path, MoshiError *error)
{
  static const char empty[] = "\x02\0\0\0\0\0\0\0{}";
  return m->invention.source ? moshi_checkpoint_from_memory(
                                   empty, sizeof empty - 1, m->invention.name, error)
                             : moshi_checkpoint_open(path, error);
}

static int
open_mimi(MoshiModel *m, MoshiError *error)
{
  if (m->files.mimi_config) {
    int status = mimi_config_read(&m->mimi_config, m->files.mimi_config, error);
    if (status)
      return status;
  }
  MoshiCheckpoint *file = open_checkpoint(m, m->files.mimi, error);
  if (!file)
    return error->status;
  if (wants(m, PART_ENCODER))
    m->checkpoint[PART_ENCODER] = moshi_checkpoint_ref(file);
  if (wants(m, PART_DECODER))
    m->checkpoint[PART_DECODER] = moshi_checkpoint_ref(file);
  moshi_checkpoint_unref(file);
  for (PartKind kind = PART_ENCODER; kind <= PART_DECODER; kind++) {
    int status = wants(m, kind) ? check_part(m, kind, error) : 0;
    if (status)
      return status;
  }
  if (!m->invention.source)
    mimi_codec_id(file, m->codec_id);

  const MoshiLmConfig *lm = m->files.lm_config;
  int heard = lm ? MAX(lm->dep_q, lm->n_q - lm->dep_q) / (lm->multistream ? 2 : 1) : 8;
  m->info.sample_rate = m->mimi_config.sample_rate;
  m->info.frame_size = m->mimi_config.frame_size;
  m->info.codebooks = m->mimi_config.n_q;
  m->info.codebook_size = m->mimi_config.bins;
  m->info.default_codebooks = CLAMP(heard, 1, m->mimi_config.n_q);
  return 0;
}

static int
open_lm(MoshiModel *m, MoshiError *error)
{
  const MoshiLmConfig *c = m->files.lm_config;
  m->checkpoint[PART_LM] = open_checkpoint(m, m->files.lm, error);
  if (!m->checkpoint[PART_LM])
    return error->status;
  int status = check_part(m, PART_LM, error);
  if (status)
    return status;
  MoshiNames names;
  if (moshi_names_of_lm(&names, m->checkpoint[PART_LM], c))
    moshi_names_use_others(&names, m->checkpoint[PART_LM]);
  size_t n_unused;
  const char *unused = moshi_checkpoint_unused(m->checkpoint[PART_LM], &n_unused);
  if (unused)
    moshi_log(MOSHI_LOG_WARNING, "%s: %zu tensors are not used, the first is \"%s\"",
        m->files.lm, n_unused, unused);
  if (m->quantization != MOSHI_QUANTIZATION_NONE) {
    MoshiLoader l = make_loader(m, PART_LM, error);
    status = moshi_conversion_new(&m->conversion, &l, c, m->quantization, error);
    if (status)
      return status;
    if (m->conversion)
      m->bytes[PART_LM] = moshi_conversion_bytes(m->conversion);
  }
  if (m->files.tokenizer) {
    m->tokenizer = moshi_tokenizer_open(m->files.tokenizer, c->text_card, error);
    if (!m->tokenizer)
      return error->status;
  }
  m->info.user_codebooks = c->n_q - c->dep_q;
  m->info.own_codebooks = c->dep_q;
  m->info.lm_codebook_size = c->card;
  m->info.text_size = c->text_card;
  m->info.text_padding = c->text_padding;
  m->info.max_delay = c->max_delay;
  m->info.context = c->main.context;
  m->info.extra_heads = c->extra_heads;
  m->info.extra_head_size = c->extra_heads ? c->extra_head_size : 0;
  m->info.temperature = c->use_sampling ? c->temp : 0;
  m->info.text_temperature = c->use_sampling ? c->temp_text : 0;
  m->info.top_k = c->top_k;
  m->info.text_top_k = c->top_k_text;
  m->info.audio_delay = c->audio_delay;
  m->info.silence_prefix = c->silence_prefix;
  return 0;
}

/* What a model's files say, from the invention instead. */
static int
invent_files(MoshiModel *m, MoshiError *error)
{
  const MoshiInvention *v = &m->invention;
  m->files.root = g_strdup(v->name);
  if (v->lm)
    m->files.lm_config = moshi_lm_config_parse(v->lm, strlen(v->lm), v->name, error);
  if (v->lm && !m->files.lm_config)
    return error->status;
  return v->mimi ? mimi_config_parse(
                       &m->mimi_config, v->mimi, strlen(v->mimi), v->name, error)
                 : 0;
}

static int
choose_mimi_type(MoshiModel *m, const char *name, MoshiError *error)
{
  if (name && !strcmp(name, "bf16"))
    m->mimi_type = MOSHI_TYPE_BF16;
  else if (name && strcmp(name, "f32"))
    return moshi_fail(error, MOSHI_ERROR_ARGUMENT,
        "Mimi's weights cannot be \"%s\"; they can be f32 or bf16", name);
  return 0;
}

/* "auto" becomes what it found, and the CPU where the weights are too many for the
 * card. */
static int
settle_device(MoshiModel *m, MoshiError *error)
{
  const MoshiDeviceOps *ops = m->device->ops;
  uint64_t bytes = 0;
  if (strcmp(m->device_name, "auto"))
    return 0;
  for (PartKind kind = 0; kind < N_PARTS; kind++)
    bytes += m->bytes[kind];
  bool fits = !ops->available || bytes <= ops->available(m->device);
  if (!fits) {
    moshi_log(MOSHI_LOG_INFO,
        "computing on the CPU: the weights need %.1f GB, more than is free on %s",
        bytes / 1e9, m->device->description);
    moshi_device_close(m->device);
    m->device = moshi_device_open("cpu", m->threads, error);
  }
  g_free(m->device_name);
  m->device_name = g_strdup(fits && ops->available ? "cuda:0" : "cpu");
  return m->device ? 0 : error->status;
}

static int
open_model(MoshiModel *m, const MoshiModelOptions *options, MoshiError *error)
{
  unsigned all =
      MOSHI_PART_ENCODER | MOSHI_PART_DECODER | MOSHI_PART_LM | MOSHI_PART_TEXT;
  bool text_alone = (m->parts & MOSHI_PART_TEXT) && !wants(m, PART_LM);
  if (!m->parts || (m->parts & ~all) || text_alone)
    return moshi_fail(error, MOSHI_ERROR_ARGUMENT, "parts must name parts of a model");
  if (m->threads < 0 || m->threads > 1024)
    return moshi_fail(
        error, MOSHI_ERROR_ARGUMENT, "threads is %d; 0 to 1024 can be had", m->threads);
  int status = moshi_quantization_parse(&m->quantization, options->quantization, error);
  if (status)
    return status;
  m->device = moshi_device_open(m->device_name, m->threads, error);
  if (!m->device)
    return error->status;
  mimi_config_default(&m->mimi_config);
  status = m->invention.source
               ? invent_files(m, error)
               : moshi_model_files_find(&m->files, options->model, m->parts, error);
  if (!status && (wants(m, PART_ENCODER) || wants(m, PART_DECODER)))
    status = open_mimi(m, error);
  if (!status && wants(m, PART_LM))
    status = open_lm(m, error);
  if (!status)
    status = settle_device(m, error);
  if (status)
    return status;
  m->info.path = m->files.root;
  m->info.model_type = m->files.lm_config ? m->files.lm_config->model_type : "mimi";
  m->info.codec_id = m->codec_id;
  return 0;
}

MoshiModel *
moshi_model_invent(const MoshiModelOptions *options, const MoshiInvention *invention,
    MoshiError *error)
{
  MoshiError own;
  MoshiModel *m = g_new0(MoshiModel, 1);
  m->users = 1;
  m->parts = options->parts;
  m->threads = options->threads;
  m->device_name = g_strdup(options->device ? options->device : "auto");
  m->invention = *invention;
  g_mutex_init(&m->loading);
  error = error ? error : &own;
  if (choose_mimi_type(m, options->mimi_weights, error) ||
      open_model(m, options, error))
    g_clear_pointer(&m, moshi_model_unref);
  return m;
}

MoshiModel *
moshi_model_open(const MoshiModelOptions *options, MoshiError *error)
{
  return moshi_model_invent(options, &(MoshiInvention){0}, error);
}

MoshiModel *
moshi_model_ref(MoshiModel *model)
{
  g_atomic_int_inc(&model->users);
  return model;
}

void
moshi_model_unref(MoshiModel *model)
{
  if (!model || !g_atomic_int_dec_and_test(&model->users))
    return;
  for (PartKind kind = 0; kind < N_PARTS; kind++) {
    part_unref(model->part[kind]);
    moshi_checkpoint_unref(model->checkpoint[kind]);
  }
  moshi_conversion_free(model->conversion);
  moshi_tokenizer_free(model->tokenizer);
  moshi_model_files_clear(&model->files);
  moshi_device_close(model->device);
  g_mutex_clear(&model->loading);
  g_free(model->device_name);
  g_free(model);
}

int
moshi_model_load(
    MoshiModel *model, MoshiProgress progress, void *cookie, MoshiError *error)
{
  MoshiError own;
  error = error ? error : &own;
  int status = 0;
  double total = 0;
  PartProgress p = {.progress = progress, .cookie = cookie};
  g_mutex_lock(&model->loading);
  for (PartKind kind = 0; kind < N_PARTS; kind++)
    total += model->bytes[kind];
  for (PartKind kind = 0; kind < N_PARTS && !status; kind++) {
    p.share = model->bytes[kind] / MAX(total, 1);
    if (wants(model, kind) && !model->part[kind]) {
      model->part[kind] = obtain_part(model, kind, &p, error);
      status = model->part[kind] ? 0 : error->status;
    }
    p.before += p.share;
  }
  g_mutex_unlock(&model->loading);
  return status;
}

/* ------------------------------------------------------------------ accessors */

const MoshiModelInfo *
moshi_model_info(const MoshiModel *model)
{
  return &model->info;
}

const char *
moshi_model_device(const MoshiModel *model)
{
  return model->device->description;
}

MoshiDevice *
moshi_model_get_device(const MoshiModel *model)
{
  return model->device;
}

static const void *
weights_of(const MoshiModel *model, PartKind kind)
{
  return model->part[kind] ? model->part[kind]->weights : NULL;
}

const MimiEncoderWeights *
moshi_model_encoder(const MoshiModel *model)
{
  return weights_of(model, PART_ENCODER);
}

const MimiDecoderWeights *
moshi_model_decoder(const MoshiModel *model)
{
  return weights_of(model, PART_DECODER);
}

const MoshiLmWeights *
moshi_model_lm(const MoshiModel *model)
{
  return weights_of(model, PART_LM);
}

size_t
moshi_model_bytes(const MoshiModel *model, unsigned part)
{
  for (PartKind kind = 0; kind < N_PARTS; kind++)
    if (part == 1u << kind)
      return model->bytes[kind];
  return 0;
}

const MimiConfig *
moshi_model_mimi_config(const MoshiModel *model)
{
  return &model->mimi_config;
}

MoshiType
moshi_model_mimi_type(const MoshiModel *model)
{
  return model->mimi_type;
}

const MoshiLmConfig *
moshi_model_lm_config(const MoshiModel *model)
{
  return model->files.lm_config;
}

const MoshiTokenizer *
moshi_model_tokenizer(const MoshiModel *model)
{
  return model->tokenizer;
}
