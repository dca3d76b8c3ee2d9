/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/swap.h>

#include "agent/device/device.h"
#include "agent/rpc.h"
#include "base/path.h"
#include "csi.pb-c.h"

/* Volumes and swap of the guest. */

#define STATFS_TIME (5 * USEC_PER_SEC)
#define SWAP_TIME   (10 * USEC_PER_SEC)
#define SLOTS_MAX   8U

/* --- usage --- */

static int statvfs_in_child(void *arg, void *reply)
{
	return statvfs(arg, reply) < 0 ? -errno : 0;
}

static Grpc__VolumeUsage *usage_new(struct ttrpc_call *call, Grpc__VolumeUsage__Unit unit,
				    uint64_t total, uint64_t free, uint64_t available)
{
	Grpc__VolumeUsage *usage = ttrpc_call_alloc(call, sizeof(*usage));

	grpc__volume_usage__init(usage);
	usage->unit = unit;
	usage->total = total;
	usage->used = total - MIN(free, total);
	usage->available = available;
	return usage;
}

RPC(get_volume_stats)
{
	const Grpc__VolumeStatsRequest *request = request_;
	Grpc__VolumeStatsResponse *response = response_;
	Grpc__VolumeCondition *condition = ttrpc_call_alloc(call, sizeof(*condition));
	struct statvfs st;
	int r;

	if (!path_is_clean(request->volume_guest_path))
		return err_setx(err, -EINVAL, "volume \"%s\": not an absolute, plain path",
				request->volume_guest_path);
	r = co_run_child(statvfs_in_child, request->volume_guest_path, &st, sizeof(st),
			 clock_after(STATFS_TIME));
	if (r < 0)
		return err_set(err, r, "volume %s", request->volume_guest_path);
	response->usage = ttrpc_call_alloc(call, 2 * sizeof(*response->usage));
	response->n_usage = 2;
	response->usage[0] = usage_new(call, GRPC__VOLUME_USAGE__UNIT__BYTES,
				       st.f_blocks * st.f_frsize, st.f_bfree * st.f_frsize,
				       st.f_bavail * st.f_frsize);
	response->usage[1] = usage_new(call, GRPC__VOLUME_USAGE__UNIT__INODES, st.f_files,
				       st.f_ffree, st.f_favail);
	grpc__volume_condition__init(condition);
	condition->message = (char *)"OK";
	response->volume_condition = condition;
	return 0;
}

RPC(resize_volume)
{
	const Grpc__ResizeVolumeRequest *request = request_;

	(void)response_;
	return err_setx(err, -ENOSYS,
			"%s: volume %s: growing a file system in the guest is not supported",
			ttrpc_call_method(call), request->volume_guest_path);
}

/* --- swap --- */

static int swapon_in_child(void *arg, _unused_ void *reply)
{
	return swapon(arg, 0) < 0 ? -errno : 0;
}

static int add_swap(char *path, struct err *err)
{
	int r = co_run_child(swapon_in_child, path, NULL, 0, clock_after(SWAP_TIME));

	return r < 0 ? err_set(err, r, "swap on %s", path) : 0;
}

RPC(add_swap)
{
	const Grpc__AddSwapRequest *request = request_;
	_cleanup_(buf_fini) struct buf path = {0};
	_cleanup_(freep) char *device = NULL;
	int r;

	(void)response_;
	if (request->n_pcipath == 0 || request->n_pcipath > SLOTS_MAX)
		return err_setx(err, -EINVAL, "a PCI path has 1 to %u slots, not %zu", SLOTS_MAX,
				request->n_pcipath);
	for (size_t i = 0; i < request->n_pcipath; i++)
		buf_addf(&path, "%s%02x", i ? "/" : "", request->pcipath[i]);
	r = device_find_pci_block(rpc_agent(call), path.data, &device, err);
	return r < 0 ? err_wrap(err, r, "swap") : add_swap(device, err);
}

RPC(add_swap_path)
{
	const Grpc__AddSwapPathRequest *request = request_;

	(void)call;
	(void)response_;
	if (!path_is_clean(request->path))
		return err_setx(err, -EINVAL, "swap \"%s\": not an absolute, plain path",
				request->path);
	return add_swap(request->path, err);
}
