/* Numeric kernels: plain pointers and sizes in, nothing allocated, no I/O.
 *
 * One table of function pointers, one row per operation. kernels/reference.c
 * defines every row by its formula and is the oracle of the tests; each CPU
 * tier overwrites the rows it does better. All matrices are row-major, all
 * sizes are in elements, nothing needs to be aligned, and outputs never
 * overlap inputs unless the row says so.
 *
 * Order of summation. Within one tier every output element is summed in an
 * order that depends on its own operands alone: never on how many rows,
 * batch items or threads are computed beside it. This is what makes a stream's
 * result independent of batch, chunking and thread count, bit for bit.
 */
#ifndef MOSHI_KERNELS_H
#define MOSHI_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* How the elements of a weight matrix are stored. Of a block, d and dmin are f16;
 * q are its stored integers. */
typedef enum {
  MOSHI_TYPE_F32,
  MOSHI_TYPE_F16,
  MOSHI_TYPE_BF16,
  MOSHI_TYPE_I8,   /* q·scales[row], q int8: PyTorch's, scales its weight_scb/127 */
  MOSHI_TYPE_Q8_0, /* ggml: blocks of 32 in 34 bytes, d·q */
  MOSHI_TYPE_Q4_0, /* ggml: blocks of 32 in 18 bytes, d·(q − 8) */
  MOSHI_TYPE_Q4_K, /* ggml: blocks of 256 in 144 bytes, d·s·q − dmin·m, where each 32
                      have 6-bit s and m */
  MOSHI_TYPE_MLX4, /* s·q + b, where each `group` columns have a scale and a bias */
  MOSHI_TYPE_MLX8,
  MOSHI_N_TYPES
} MoshiType;

/* A row-major matrix [rows][cols] as its file has it. The columns of a row are
 * whole blocks or groups; a group is 32, 64 or 128 columns. */
typedef struct {
  MoshiType type;
  int rows, cols;
  const void *data;
  const void *scales;   /* I8: f32 [rows]; MLX: [rows][cols/group] of scale_type */
  const void *biases;   /* MLX: as scales */
  MoshiType scale_type; /* F32, F16 or BF16 */
  int group;
} MoshiRows;

/* Outputs of a packed matrix come in panels of this many (see moshi_pack_panels). */
#define MOSHI_PANEL 16

/* Weights of 4 bits are multiplied with in panels of eight rows beside each other: a
 * vector register then holds some columns of all eight, whose sums need not be added up
 * at the end, and takes the rows' scales as they lie. See four_bits.h. */
#define MOSHI_PANEL_ROWS 8

/* The widest head that attention takes. */
#define MOSHI_MAX_HEAD_DIM 512

/* What is applied to a sum before it is stored. */
typedef enum {
  MOSHI_ACT_NONE,
  MOSHI_ACT_ELU,  /* x > 0 ? x : expm1(x) */
  MOSHI_ACT_GELU, /* x/2 (1 + erf(x/sqrt 2)), the exact form */
  MOSHI_ACT_SILU, /* x / (1 + exp(-x)) */
  MOSHI_ACT_RELU,
  MOSHI_ACT_SIGMOID,
  MOSHI_ACT_TANH,
  MOSHI_N_ACTS
} MoshiAct;

/* The product of packed weights and a batch of row windows:
 *
 *   for i < batch, t < steps, n < n_out:
 *     out[i·out_batch + t·out_step + n] = res + scale[n]·act(bias[n] + Σ_k in[i·in_batch + t·in_step + k]·W[n][k])
 *
 * where res is residual[i·residual_batch + t·residual_step + n]. Windows may overlap
 * (in_step < n_in): with channels-last activations [time][channel] a
 * convolution of stride S over C channels is this product with in_step = S·C,
 * and a transposed one has n_out = S·C'. bias, scale and residual may be NULL
 * (0, 1 and 0); residual may equal out. A row of the product is
 * r = i·steps + t. */
typedef struct {
  const float *in;
  size_t in_batch, in_step;
  int batch, steps, n_in;
  MoshiType type;     /* of the panels: F32 or BF16 */
  const void *panels; /* from moshi_pack_panels() */
  int n_out;
  const float *bias, *scale, *residual;
  MoshiAct act;
  size_t residual_batch, residual_step;
  float *out;
  size_t out_batch, out_step;
} MoshiGemm;

/* How a ring keeps keys and values. */
typedef enum {
  MOSHI_KV_F32,
  MOSHI_KV_BF16,
  MOSHI_KV_I8, /* int8 and an f32 scale a row: x = scale·q, scale = max|x|/127 */
  MOSHI_N_KVS
} MoshiKv;

/* One query of attention over a ring of keys and values of one head.
 * Keys are [capacity][stride] rows of d; the keys first, first+1, … (mod
 * capacity), count ≥ 1 of them, are attended to in that order:
 *   out[d] = Σ_j softmax_j(scale·q·k_j)·v_j
 * out may equal q. */
typedef struct {
  const float *q;
  const void *k, *v;
  const float *k_scales, *v_scales; /* I8: [capacity] */
  size_t stride;                    /* elements from one ring entry to the next */
  int d, capacity, first, count;
  float scale;
  float *out;
} MoshiAttention;

typedef struct {
  const char *name; /* of the best tier in the table: "c", "avx2", … */

  /* Rows [r0,r1) of the product, panels [p0,p1). */
  void (*gemm)(const MoshiGemm *g, int r0, int r1, int p0, int p1);

  /* y[i·y_step + r − r0] = Σ_c W[r][c]·x[i·x_step + c] for rows r in [r0,r1), for
   * every batch item i. With integer weights (I8 and later) a tier may round x to
   * 16 bits: to multiples of 1/32767 of the largest magnitude of each 256 columns
   * (1/32639 where they go as two planes of 8 bits). A sum that is infinite may come
   * out as NaN. */
  void (*matvec[MOSHI_N_TYPES])(float *y, size_t y_step, const MoshiRows *w,
      const float *x, size_t x_step, int r0, int r1, int batch);

  /* The same of weights of 4 bits, w->data being panels (moshi_pack_rows); NULL of other
   * types. */
  void (*matvec_panels[MOSHI_N_TYPES])(float *y, size_t y_step, const MoshiRows *w,
      const float *x, size_t x_step, int r0, int r1, int batch);

  /* y = x·alpha / sqrt(mean(x²) + eps). y may equal x. */
  void (*rms_norm)(float *y, const float *x, const float *alpha, int n, float eps);
  /* y = (x − mean)/sqrt(var + eps)·w + b, biased variance. y may equal x. */
  void (*layer_norm)(
      float *y, const float *x, const float *w, const float *b, int n, float eps);

  /* y = act(x), n elements; y may equal x. */
  void (*act[MOSHI_N_ACTS])(float *y, const float *x, size_t n);
  /* y = x·g, elementwise; y may equal x or g. */
  void (*mul)(float *y, const float *x, const float *g, size_t n);
  /* y += s ⊙ x, elementwise; s NULL means 1. */
  void (*add)(float *y, const float *x, const float *s, size_t n);

  /* Rotates n pairs: (a,b) → (a·cos − b·sin, a·sin + b·cos). Pairs are adjacent
   * elements of x in rope, (a[i], b[i]) in rope_halves. */
  void (*rope)(float *x, const float *cos, const float *sin, int n);
  void (*rope_halves)(float *a, float *b, const float *cos, const float *sin, int n);

  /* Keys and values stored as `kv`. */
  void (*attention[MOSHI_N_KVS])(const MoshiAttention *a);

  /* Smallest index of the smallest (largest) element; NaN is never chosen
   * over a number, and an all-NaN row gives 0. */
  int (*argmin)(const float *x, int n);
  int (*argmax)(const float *x, int n);

  /* p[i] = exp((x[i] − max x)·inv_temperature); returns Σp (f32). */
  float (*softmax_exp)(float *p, const float *x, int n, float inv_temperature);

  /* y[i] = W[row][col + i], n elements of a row as f32. */
  void (*widen[MOSHI_N_TYPES])(float *y, const MoshiRows *w, int row, int col, int n);

  /* A block of Q4_K of 256 floats, the same bytes from every tier. */
  void (*encode_q4_k)(uint8_t *to, const float *x);
} MoshiKernels;

/* CPU tiers, a mask of bits. */
enum {
  MOSHI_CPU_AVX2 = 1 << 0,   /* AVX2 + FMA + F16C */
  MOSHI_CPU_AVX512 = 1 << 1, /* AVX-512 F, BW, DQ, VL, VNNI */
  MOSHI_CPU_NEON = 1 << 2,
  MOSHI_CPU_DOTPROD = 1 << 3, /* NEON's dot products of bytes */
};

/* What this machine has, as a mask. */
unsigned moshi_cpu_detect(void);
/* Parses MOSHI_CPU_MASK's form: a comma-separated list of tier names ("c",
 * "avx2", …), or a number; NULL means all. Unknown names are ignored. */
unsigned moshi_cpu_parse_mask(const char *text);
/* Fills the table: the reference, then rising tiers of `mask` that the machine
 * has and that this build contains. */
void moshi_kernels_init(MoshiKernels *k, unsigned mask);

/* A row of d keys or values as a ring keeps it, the same bits on every machine.
 * scale: I8's, else not touched. */
void moshi_kv_store(MoshiKv kv, void *row, float *scale, const float *x, int d);
/* Of an element; I8's scales come on top. */
size_t moshi_kv_size(MoshiKv kv);

/* Writes the weights W[n][k … k+count) to `to`. */
typedef void (*MoshiWeights)(const void *ctx, int n, int k, int count, float *to);

/* Bytes that moshi_pack_panels writes in all. */
size_t moshi_panels_bytes(MoshiType type, int n_out, int n_in);
/* Packs W into panels of MOSHI_PANEL outputs: panel p holds, for each k, the
 * weights W[16p … 16p+15][k] (outputs beyond n_out are 0) as F32, or rounded to
 * the nearest BF16. Panels [p0,p1) are written. */
void moshi_pack_panels(void *panels, MoshiType type, int n_out, int n_in, int p0,
    int p1, MoshiWeights weights, const void *ctx);

/* Of a matrix in panels of MOSHI_PANEL_ROWS, of Q4_K 3 % more than in rows; 0 of types
 * that have none. */
size_t moshi_row_panels_bytes(const MoshiRows *w);
/* Writes panels [p0,p1) of rows; those beyond w->rows are 0. The result needs neither
 * w's data nor its scales. */
void moshi_pack_rows(void *panels, const MoshiRows *w, int p0, int p1);

float moshi_f16_to_f32(uint16_t h);
float moshi_bf16_to_f32(uint16_t h);
/* Round to nearest even. */
uint16_t moshi_f32_to_f16(float x);
uint16_t moshi_f32_to_bf16(float x);

/* "f32", "q8_0", … */
const char *moshi_type_name(MoshiType type);
/* The columns of a row are a multiple of this. */
int moshi_type_block(MoshiType type);
/* Bytes of a row of `cols` columns, scales and biases aside. */
size_t moshi_rows_bytes(MoshiType type, int cols);
/* Bytes of a whole matrix, scales and biases included. */
size_t moshi_rows_size(const MoshiRows *w);
/* n rows from first on, as a matrix. */
MoshiRows moshi_rows_part(const MoshiRows *w, int first, int n);
/* Encodes n floats, whole blocks of them, as Q8_0, Q4_0 or Q4_K; false for another
 * type or an n that is no multiple of its block. The bytes are the same on every
 * machine, and for Q8_0 and Q4_0 those that ggml writes. */
bool moshi_encode(
    const MoshiKernels *k, MoshiType type, void *to, const float *x, size_t n);

#ifdef __cplusplus
}
#endif
#endif
