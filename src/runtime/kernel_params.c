/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/kernel_params.h"

#include "base/str.h"

char *kernel_params(const struct config *config, const char *channel)
{
	_cleanup_(strv_fini) struct strv params = {0};
	bool debug = config->agent.enable_debug || config->hypervisor.enable_debug;

	/* reboot=k, panic=1: a guest that crashes ends its VM within a second. */
	strv_split(&params,
		   "panic=1 no_timer_check noreplace-smp reboot=k cryptomgr.notests net.ifnames=0 "
		   "pci=lastbus=0 console=hvc0 cgroup_no_v1=all systemd.unified_cgroup_hierarchy=1",
		   " ");
	if (!config->hypervisor.enable_debug)
		strv_add(&params, "quiet");
	/* A device that was there 3 s ago, Kata's value, is not there yet on a loaded host. */
	strv_add(&params, "agent.hotplug_timeout=30");
	strv_addf(&params, "agent.log=%s", debug ? "debug" : "info");
	if (channel)
		strv_addf(&params, "agent.channel=%s", channel);
	if (config->agent.debug_console_enabled)
		strv_add(&params, "agent.debug_console");
	strv_split(&params, config->hypervisor.kernel_params, " ");
	return strv_join(&params, " ");
}
