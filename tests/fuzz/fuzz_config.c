/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A configuration file and annotations: the bytes up to the first NUL are the file, then come NUL-
 * separated pairs of annotation and value. Whatever they say, the result is a text that names the
 * place, or a configuration that keeps its promises.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"
#include "config/resolve.h"

#define PAIRS_MAX 16

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct config *config)
{
	const struct config_hypervisor *h = &config->hypervisor;

	if (!(h->default_vcpus > 0) || h->default_vcpus > config_host_cpus() ||
	    h->default_memory < 64 || h->default_maxmemory < h->default_memory ||
	    h->path[0] != '/' || h->kernel[0] != '/' || (*h->image != 0) == (*h->initrd != 0) ||
	    strchr(h->kernel_params, '\n'))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct config_annotation pairs[PAIRS_MAX];
	_cleanup_(config_freep) struct config *config = config_new();
	_cleanup_(freep) char *text = xmalloc(size + 1);
	_cleanup_err_ struct err err = {0};
	size_t n = 0, at;
	int r;

	memcpy(text, data, size);
	text[size] = '\0';
	at = strlen(text);
	r = config_apply_text(config, "f", text, at, &err);
	if (r == 0)
		r = config_resolve(config, &err);
	if (r < 0) {
		if (!*err_text(&err))
			abort();
		return 0;
	}
	check(config);
	for (at++; at < size && n < PAIRS_MAX; n++) {
		pairs[n].key = text + at;
		at += strlen(text + at) + 1;
		pairs[n].value = at < size ? text + at : "";
		at += at < size ? strlen(text + at) + 1 : 0;
	}
	if (config_apply_annotations(config, pairs, n, &err) < 0 && !*err_text(&err))
		abort();
	check(config);
	return 0;
}
