/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "config/config.h"

#define KEY_SHOWN 12 /* digits of a template's key: enough to tell one from another */

/* factory_status: print the templates that there are, and which one sandboxes of this configuration
 * are restored from, as a table or as JSON. */
int factory_status(struct config *config, bool json, struct err *err);
