/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What of an OCI document is served. */

/*
 * oci_features: the features document of the runtime specification (features.md), as JSON; the
 * caller frees. Callers decide by it whether to ask for recursive read-only mounts or for user
 * namespaces at all. A child is started to try the kernel (kernel/idmap.h).
 */
char *oci_features(void);
