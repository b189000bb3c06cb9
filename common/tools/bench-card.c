/* moshi-bench kernels --device D: the device's own kernels beside a copy in its memory. */
#include <stdio.h>

#include "../device/device.h"
#include "bench.h"

typedef struct {
  char *device;
  int shrink;
  gboolean json;
} Options;

static void
print_timed(void *ctx, const MoshiTimed *t)
{
  const Options *o = ctx;
  const double gb_s = t->bytes / t->seconds / 1e9;

  if (o->json)
    printf("{\"bench\":\"kernel:%s\",\"shape\":\"%dx%d\",\"quantization\":\"%s\","
           "\"device\":\"%s\",\"threads\":0,\"batch\":%d,\"frames\":1,"
           "\"ms_mean\":%.6f,\"bytes_per_frame\":%.0f,\"machine_gb_s\":%.1f,"
           "\"bandwidth_fraction\":%.4f}\n",
        t->name, t->rows, t->cols, t->type, o->device, t->batch, 1e3 * t->seconds,
        t->bytes, t->copy_gb_s, gb_s / t->copy_gb_s);
  else
    printf("%-9s %-5s %6d x %-6d batch %2d  %9.2f us  %8.1f GB/s  %5.1f %% of a copy\n",
        t->name, t->type, t->rows, t->cols, t->batch, 1e6 * t->seconds, gb_s,
        100 * gb_s / t->copy_gb_s);
}

static int
time_card(const Options *o, MoshiError *error)
{
  MoshiDevice *d = moshi_device_open(o->device, 0, error);
  int status;

  if (!d)
    return error->status;
  if (!d->ops->bench)
    status = moshi_fail(error, MOSHI_ERROR_ARGUMENT,
        "device '%s' has no kernels of its own to time; moshi-bench kernels --bench "
        "times those of the CPU",
        o->device);
  else
    status = d->ops->bench(d, o->shrink, print_timed, (void *)o, error);
  moshi_device_close(d);
  return status;
}

int
bench_card(int argc, char **argv, MoshiError *error)
{
  Options o = {.shrink = 1};
  const GOptionEntry entries[] = {
      {"device", 'd', 0, G_OPTION_ARG_STRING, &o.device, "cuda or cuda:N", "DEVICE"},
      {"shrink", 0, 0, G_OPTION_ARG_INT, &o.shrink,
          "Divide the sizes of the 7B model, to try the program", "N"},
      {"json", 0, 0, G_OPTION_ARG_NONE, &o.json, "One object a line", NULL},
      {NULL},
  };
  GOptionContext *context = g_option_context_new(NULL);
  g_option_context_add_main_entries(context, entries, NULL);
  int status = tool_parse(context, argc, argv, error);
  if (!status)
    status = time_card(&o, error);
  g_option_context_free(context);
  g_free(o.device);
  return status;
}
