/* SPDX-License-Identifier: Apache-2.0 */
/* Commands of Kata's that are not served: they say so, whatever their options are. */
#include <errno.h>

#include "cli/commands.h"

static int refuse(struct err *err, const char *name, const char *why)
{
	err_setx(err, -ENOSYS, "%s is not supported: %s", name, why);
	return CLI_FAILED;
}

static int run_direct_volume(_unused_ struct cli *cli, struct err *err)
{
	return refuse(err, "direct-volume", "direct-assigned volumes are not served yet");
}

static int run_iptables(_unused_ struct cli *cli, struct err *err)
{
	return refuse(err, "iptables", "the guest's packet filter cannot be reached yet");
}

static int run_policy(_unused_ struct cli *cli, struct err *err)
{
	return refuse(err, "policy", "agent policies are not served");
}

#define UNSUPPORTED(id_, name_, arguments_, summary_, run_)                           \
	const struct cli_command cmd_##id_ = {.name = name_,                          \
					      .arguments = arguments_,                \
					      .summary = summary_ " (not supported)", \
					      .max_args = -1,                         \
					      .rest = true,                           \
					      .hidden = true,                         \
					      .run = run_}

UNSUPPORTED(direct_volume, "direct-volume", "add|remove|stats|resize", "Manage direct volumes",
	    run_direct_volume);
UNSUPPORTED(iptables, "iptables", "get|set", "Manage the guest's packet filter", run_iptables);
UNSUPPORTED(policy, "policy", "set", "Set the agent's policy", run_policy);
