/* The jitter buffer of moshi-client: when it starts, what it skips, when it runs
 * dry. Samples are numbers that tell their place. */
#include <math.h>

#include "../../examples/client/playback.h"

#define MS(n) ((n) * PLAYBACK_RATE / 1000)
#define START MS (80)
#define BOUND MS (100)          /* above the target; then it skips */
#define FADE MS (5)

typedef struct
{
  Playback playback;
  guint64 pushed, pulled;       /* samples */
} Player;

static Player
player (void)
{
  Player p = { 0 };

  playback_init (&p.playback);
  return p;
}

/* 1, 2, 3…: a fade is seen, and nothing is 0. */
static void
push (Player * p, guint n)
{
  gfloat *samples = g_new (gfloat, n);
  guint i;

  for (i = 0; i < n; i++)
    samples[i] = ++p->pushed;
  playback_push (&p->playback, samples, n);
  g_free (samples);
}

static gfloat *
pull (Player * p, guint n)
{
  gfloat *samples = g_new (gfloat, n);

  playback_pull (&p->playback, samples, n);
  p->pulled += n;
  return samples;
}

static void
assert_silence (gfloat * samples, guint begin, guint end)
{
  guint i;

  for (i = begin; i < end; i++)
    g_assert_cmpfloat (samples[i], ==, 0);
}

/* Samples begin…end are value, value + 1, … */
static void
assert_count (gfloat * samples, guint begin, guint end, guint64 value)
{
  guint i;

  for (i = begin; i < end; i++)
    g_assert_cmpfloat (samples[i], ==, value + i - begin);
}

/* Nothing is heard until there is enough in store; then all of it is, faded in. */
static void
test_start (void)
{
  Player p = player ();
  gfloat *out;

  push (&p, START - 1);
  out = pull (&p, MS (20));
  assert_silence (out, 0, MS (20));
  g_free (out);
  push (&p, 1);
  out = pull (&p, MS (20));
  g_assert_cmpfloat (out[0], >, 0);
  g_assert_cmpfloat (out[0], <, 0.02);
  g_assert_cmpfloat (out[FADE / 2], <, FADE / 2 + 1);
  assert_count (out, FADE, MS (20), FADE + 1);
  g_free (out);
  g_assert_cmpuint (p.playback.missed + p.playback.skipped, ==, 0);
  playback_clear (&p.playback);
}

/* As a server in time delivers: a frame, and another when it is needed. */
static void
test_steady (void)
{
  Player p = player ();
  guint i;

  push (&p, START);
  for (i = 0; i < 400; i++) {
    gfloat *out = pull (&p, MS (20));

    assert_count (out, i ? 0 : FADE, MS (20), i * MS (20) + (i ? 1 : FADE + 1));
    if (i % 4 == 0)
      push (&p, MS (80));
    g_free (out);
  }
  g_assert_cmpuint (p.playback.missed + p.playback.skipped, ==, 0);
  g_assert_cmpuint (p.playback.target, ==, START);
  playback_clear (&p.playback);
}

/* After a hole in the network a second comes at once: it is left out, and the
 * rest begins where the other ends. */
static void
test_lag (void)
{
  Player p = player ();
  gfloat *out;
  guint i;

  push (&p, START);
  g_free (pull (&p, MS (20)));
  push (&p, BOUND + MS (20));
  g_assert_cmpuint (p.playback.skipped, ==, 0);
  g_assert_cmpuint (p.playback.samples->len, ==, START + BOUND);
  push (&p, MS (1000));
  g_assert_cmpuint (p.playback.samples->len, ==, START);
  g_assert_cmpuint (p.playback.skipped, ==, BOUND + MS (1000));
  out = pull (&p, START);
  g_assert_cmpfloat (fabs (out[0] - (MS (20) + 1)), <, p.pushed / FADE + 1);
  for (i = 1; i < START; i++)
    g_assert_cmpfloat (fabs (out[i] - out[i - 1]), <, p.pushed / FADE + 2);
  assert_count (out, FADE, START, p.pushed - START + FADE + 1);
  g_free (out);
  playback_clear (&p.playback);
}

/* Each time it runs dry it fades out, waits, and has 10 ms more in store, up to
 * 200. */
static void
test_dry (void)
{
  Player p = player ();
  guint i, target = START;

  for (i = 0; i < 20; i++) {
    gfloat *out;
    guint64 first;

    push (&p, target - 1);
    g_free (pull (&p, MS (20)));
    first = p.pushed - (target - 1) + 1;
    push (&p, 1);
    out = pull (&p, target + MS (20));
    assert_count (out, FADE, target - FADE, first + FADE);
    g_assert_cmpfloat (out[target - 1], <, p.pushed * 0.02);
    g_assert_cmpfloat (out[target - 1], >, 0);
    assert_silence (out, target, target + MS (20));
    g_free (out);
    g_assert_cmpuint (p.playback.missed, ==, (i + 1) * MS (20));
    target = MIN (target + MS (10), MS (200));
    g_assert_cmpuint (p.playback.target, ==, target);
  }
  g_assert_cmpuint (p.playback.skipped, ==, 0);
  playback_clear (&p.playback);
}

/* Whatever comes and goes: it is played, skipped, or in store, and no more of it
 * is in store than allowed. */
static void
test_books (void)
{
  GRand *random = g_rand_new_with_seed (1);
  Player p = player ();
  guint64 heard = 0;
  guint i, j;

  for (i = 0; i < 5000; i++) {
    guint n = g_rand_int_range (random, 1, MS (60));

    if (g_rand_boolean (random))
      push (&p, g_rand_int_range (random, 0, 100) ? n : 20 * n);
    else {
      gfloat *out = pull (&p, n);

      for (j = 0; j < n; j++) {
        heard += out[j] != 0;
        g_assert_cmpfloat (out[j], >=, 0);
        g_assert_cmpfloat (out[j], <=, p.pushed);
      }
      g_free (out);
    }
    g_assert_cmpuint (p.playback.samples->len, <=, p.playback.target + BOUND);
    g_assert_cmpuint (p.pushed, ==,
        heard + p.playback.skipped + p.playback.samples->len);
  }
  g_assert_cmpuint (p.playback.skipped, >, 0);
  g_assert_cmpuint (p.playback.missed, >, 0);
  playback_clear (&p.playback);
  g_rand_free (random);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/client/playback/start", test_start);
  g_test_add_func ("/client/playback/steady", test_steady);
  g_test_add_func ("/client/playback/lag", test_lag);
  g_test_add_func ("/client/playback/dry", test_dry);
  g_test_add_func ("/client/playback/books", test_books);
  return g_test_run ();
}
