/* Products of random matrices in every format against double precision. */
#ifndef MOSHI_PRODUCTS_H
#define MOSHI_PRODUCTS_H

#include <stdbool.h>

void bench_products(bool json);

#endif
