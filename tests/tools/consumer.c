/* A stranger's program: opens the model it is given, through the installed
 * header and pkg-config file alone, and hears a frame of silence. */
#include <moshi.h>
#include <stdio.h>

int
main(int argc, char **argv)
{
  MoshiError error;
  MoshiModelOptions options = {
      .model = argc > 1 ? argv[1] : NULL, .parts = MOSHI_PART_ENCODER};
  MoshiModel *model = moshi_model_open(&options, &error);
  if (!model || moshi_model_load(model, NULL, NULL, &error)) {
    printf("%s\n", error.message);
    return 1;
  }
  static float pcm[1920];
  uint16_t codes[8];
  MimiEncoder *encoder = mimi_encoder_new(model, 1, 8, &error);
  if (!encoder || mimi_encoder_step(encoder, pcm, NULL, codes, &error)) {
    printf("%s\n", error.message);
    return 1;
  }
  printf("%s: silence is code %d\n", moshi_model_info(model)->path, codes[0]);
  mimi_encoder_free(encoder);
  moshi_model_unref(model);
  return 0;
}
