/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What this build is. Linked by programs alone (version_dep): the commit changes with every build.
 */

#define VERSION_OCI_SPEC "1.2.0" /* the runtime-spec that config.json is read by */

/* version_text: "0.1.0". version_commit: what git describes the tree as, "unknown" without git. */
const char *version_text(void);
const char *version_commit(void);
