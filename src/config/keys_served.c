/* SPDX-License-Identifier: Apache-2.0 */
/* The keys that are served, in the order of the documentation. */
#include "config/keys_table.h"

#define HYPERVISOR(key_, type_, fallback_, ...)                                                 \
	{                                                                                       \
		.section = KEY_HYPERVISOR, .name = #key_, .type = type_, .fallback = fallback_, \
		.offset = offsetof(struct config, hypervisor.key_), __VA_ARGS__                 \
	}
#define AGENT(key_, type_, fallback_, ...)                                                 \
	{                                                                                  \
		.section = KEY_AGENT, .name = #key_, .type = type_, .fallback = fallback_, \
		.offset = offsetof(struct config, agent.key_), __VA_ARGS__                 \
	}
#define RUNTIME(key_, type_, fallback_, ...)                                                 \
	{                                                                                    \
		.section = KEY_RUNTIME, .name = #key_, .type = type_, .fallback = fallback_, \
		.offset = offsetof(struct config, runtime.key_), __VA_ARGS__                 \
	}
#define FACTORY(key_, type_, fallback_, ...)                                                 \
	{                                                                                    \
		.section = KEY_FACTORY, .name = #key_, .type = type_, .fallback = fallback_, \
		.offset = offsetof(struct config, factory.key_), __VA_ARGS__                 \
	}
#define HV_ANNOTATION(name_) .annotation = "config.hypervisor." name_

/* clang-format off */
const struct key keys_hypervisor[] = {
	HYPERVISOR(path, KEY_PATH, "\"\"", HV_ANNOTATION("path"), .guard = KEY_GUARD_HYPERVISOR,
		.doc = "The QEMU program. Empty: the first that exists of the installation's own and "
		       "the distributions' usual places."),
	HYPERVISOR(kernel, KEY_PATH, "\"\"", HV_ANNOTATION("kernel"),
		.doc = "The guest kernel. Empty: what kata-guest-image(8) made, else the "
		       "installation's own."),
	HYPERVISOR(initrd, KEY_PATH, "\"\"", HV_ANNOTATION("initrd"),
		.doc = "The guest's user space as an initramfs; not together with image, but for image's own. Empty, and no "
		       "image either: what kata-guest-image(8) made, else the installation's own."),
	HYPERVISOR(image, KEY_PATH, "\"\"", HV_ANNOTATION("image"),
		.doc = "The guest's user space as a disk image, as kata-guest-image --format makes it. A "
		       "file of the same name with \".initrd\" behind it, which that makes too where the "
		       "guest kernel has the disk's drivers as modules, mounts it."),
	HYPERVISOR(rootfs_type, KEY_STRING, "\"ext4\"", .choices = "ext4|xfs|erofs",
		.doc = "The file system of the first partition of image."),
	HYPERVISOR(kernel_params, KEY_STRING, "\"\"", HV_ANNOTATION("kernel_params"), .append = true,
		.doc = "Further parameters of the guest kernel, behind those of the runtime. The "
		       "annotation adds to them. agent.channel=serial: reach the agent over a "
		       "serial port even where the host has vhost-vsock."),
	HYPERVISOR(firmware, KEY_PATH, "\"\"", HV_ANNOTATION("firmware"),
		.doc = "The firmware. Empty: QEMU's own."),
	HYPERVISOR(guest_hook_path, KEY_PATH, "\"\"", HV_ANNOTATION("guest_hook_path"),
		.doc = "A folder in the guest with OCI hooks (prestart, poststart, poststop). Empty: "
		       "none."),

	HYPERVISOR(accelerator, KEY_STRING, "\"auto\"", .choices = "auto|kvm|tcg",
		.doc = "What runs the guest's code. auto: KVM if a virtual machine can really be made "
		       "with it, else emulation if allow_emulation permits it. Not a key of Kata's."),
	HYPERVISOR(allow_emulation, KEY_BOOL, "false",
		.doc = "Sandboxes may run emulated (TCG), where there is no KVM. QEMU's developers "
		       "promise no isolation then: for development and tests. Not a key of Kata's."),
	HYPERVISOR(machine_type, KEY_STRING, "\"q35\"", .choices = "q35", HV_ANNOTATION("machine_type"),
		.doc = "The machine that is emulated."),
	HYPERVISOR(machine_accelerators, KEY_STRING, "\"\"", HV_ANNOTATION("machine_accelerators"),
		.doc = "Further options of the machine, separated by commas, as QEMU's -machine takes "
		       "them."),
	HYPERVISOR(cpu_features, KEY_STRING, "\"pmu=off\"", HV_ANNOTATION("cpu_features"),
		.doc = "Features of the guest's CPU, separated by commas, as QEMU's -cpu takes them."),
	HYPERVISOR(user, KEY_STRING, "\"65534\"",
		.doc = "The user that QEMU runs as: a name, or a number (the group is then the same "
		       "number). root is possible and not advisable. Not a key of Kata's."),
	HYPERVISOR(seccompsandbox, KEY_STRING, "\"\"",
		.doc = "QEMU's -sandbox argument. Empty: everything that can be denied is denied; off: "
		       "no sandbox."),
	HYPERVISOR(entropy_source, KEY_PATH, "\"/dev/urandom\"", HV_ANNOTATION("entropy_source"),
		.guard = KEY_GUARD_ENTROPY,
		.doc = "Where the guest's random number device takes its bytes from."),
	HYPERVISOR(enable_debug, KEY_BOOL, "false",
		.doc = "QEMU's own log and all messages of the guest kernel."),
	HYPERVISOR(disable_image_nvdimm, KEY_BOOL, "false", HV_ANNOTATION("disable_image_nvdimm"),
		.doc = "Attach image as a virtio block device, not as an NVDIMM."),

	HYPERVISOR(default_vcpus, KEY_NUMBER, "1", .min = -1024, .max = 1024,
		HV_ANNOTATION("default_vcpus"),
		.doc = "CPUs of a sandbox without limits of its own, rounded up. 0: 1. Negative, or more "
		       "than the host has: as many as the host has."),
	HYPERVISOR(default_maxvcpus, KEY_UINT, "0", .max = 1024, HV_ANNOTATION("default_max_vcpus"),
		.doc = "How many CPUs a sandbox can be given. 0, or more than the host has: as many as "
		       "the host has."),
	HYPERVISOR(default_memory, KEY_UINT, "2048", .min = 64, .max = 16777216,
		HV_ANNOTATION("default_memory"),
		.doc = "Memory of a sandbox in MiB, to which the limits of its containers are added."),
	HYPERVISOR(memory_slots, KEY_UINT, "10", .min = 1, .max = 255, HV_ANNOTATION("memory_slots"),
		.doc = "How many times memory can be added to a running sandbox."),
	HYPERVISOR(default_maxmemory, KEY_UINT64, "0", .max = 16777216,
		.doc = "How much memory a sandbox can be given, in MiB. 0, or more than the host has: as "
		       "much as the host has."),
	HYPERVISOR(default_bridges, KEY_UINT, "1", .max = 5,
		.doc = "PCI bridges for devices that are added later; 0 is taken as 1."),
	HYPERVISOR(pcie_root_port, KEY_UINT, "0", .max = 16, HV_ANNOTATION("pcie_root_port"),
		.doc = "PCI Express root ports beyond those that the runtime needs itself."),
	HYPERVISOR(enable_mem_prealloc, KEY_BOOL, "false", HV_ANNOTATION("enable_mem_prealloc"),
		.doc = "Take all of the guest's memory from the host at the start."),
	HYPERVISOR(enable_hugepages, KEY_BOOL, "false", HV_ANNOTATION("enable_hugepages"),
		.doc = "Use huge pages for the guest's memory; they must be reserved on the host."),

	HYPERVISOR(shared_fs, KEY_STRING, "\"virtio-fs\"", .choices = "virtio-fs|none",
		HV_ANNOTATION("shared_fs"),
		.doc = "How files of the host reach the guest. none: as copies; root file systems are on "
		       "block devices then (the devmapper, blockfile and EROFS snapshotters), single files of "
		       "up to 1 MiB and ConfigMaps, Secrets and the like are copied, what a container writes to "
		       "such a file is on the host when it has ended, an emptyDir is in the guest's memory, and a "
		       "container that mounts another folder of the host is refused."),
	HYPERVISOR(virtio_fs_daemon, KEY_PATH, "\"\"", HV_ANNOTATION("virtio_fs_daemon"),
		.guard = KEY_GUARD_VIRTIOFSD,
		.doc = "The virtiofsd program, QEMU's older one in C or the newer one in Rust. Empty: "
		       "the first that exists of the installation's own and the distributions' usual "
		       "places."),
	HYPERVISOR(virtio_fs_extra_args, KEY_LIST, "[]", HV_ANNOTATION("virtio_fs_extra_args"),
		.doc = "Further arguments of virtiofsd."),
	HYPERVISOR(virtio_fs_cache, KEY_STRING, "\"auto\"", .choices = "never|metadata|auto|always",
		HV_ANNOTATION("virtio_fs_cache"),
		.doc = "What the guest may cache of shared files."),
	HYPERVISOR(virtio_fs_rootfs_cache, KEY_STRING, "\"always\"",
		.choices = "never|metadata|auto|always",
		.doc = "The same of the root file systems, which belong to their containers alone; "
		       "they have a virtiofsd of their own unless the two are the same. Not a key of "
		       "Kata's."),
	HYPERVISOR(virtio_fs_cache_size, KEY_UINT, "0", .max = 1048576,
		HV_ANNOTATION("virtio_fs_cache_size"),
		.doc = "Size of the window through which the guest maps shared files (DAX), in MiB. 0: "
		       "none."),
	HYPERVISOR(virtio_fs_queue_size, KEY_UINT, "1024", .min = 2, .max = 1024,
		.doc = "Requests to virtiofsd that can be on their way."),

	HYPERVISOR(disable_block_device_use, KEY_BOOL, "false",
		HV_ANNOTATION("disable_block_device_use"),
		.doc = "Share a root file system that is a block device of the host instead of handing "
		       "the device to the guest."),
	HYPERVISOR(block_device_driver, KEY_STRING, "\"virtio-scsi\"",
		.choices = "virtio-scsi|virtio-blk", HV_ANNOTATION("block_device_driver"),
		.doc = "The kind of device that a block device of the host becomes in the guest."),
	HYPERVISOR(block_device_aio, KEY_STRING, "\"io_uring\"", .choices = "threads|native|io_uring",
		HV_ANNOTATION("block_device_aio"),
		.doc = "How QEMU accesses block devices."),
	HYPERVISOR(block_device_cache_set, KEY_BOOL, "false", HV_ANNOTATION("block_device_cache_set"),
		.doc = "The next two keys are to be obeyed."),
	HYPERVISOR(block_device_cache_direct, KEY_BOOL, "false",
		HV_ANNOTATION("block_device_cache_direct"),
		.doc = "Bypass the host's page cache (O_DIRECT)."),
	HYPERVISOR(block_device_cache_noflush, KEY_BOOL, "false",
		HV_ANNOTATION("block_device_cache_noflush"),
		.doc = "Ignore the guest's requests to flush: faster, and data is lost when the host "
		       "fails."),
	HYPERVISOR(block_device_logical_sector_size, KEY_UINT, "0", .max = 65536,
		HV_ANNOTATION("blk_logical_sector_size"),
		.doc = "Logical sector size of block devices in bytes. 0: QEMU's choice."),
	HYPERVISOR(block_device_physical_sector_size, KEY_UINT, "0", .max = 65536,
		HV_ANNOTATION("blk_physical_sector_size"),
		.doc = "Physical sector size of block devices in bytes. 0: QEMU's choice."),
	HYPERVISOR(disable_vhost_net, KEY_BOOL, "false", HV_ANNOTATION("disable_vhost_net"),
		.doc = "Let QEMU copy network packets instead of the host's kernel."),

	HYPERVISOR(enable_annotations, KEY_LIST,
		"[\"enable_iommu\", \"kernel_params\", \"kernel_verity_params\", \"default_vcpus\", "
		"\"default_memory\"]", .regex = true,
		.doc = "Which io.katacontainers.config.hypervisor annotations a pod may use: regular "
		       "expressions, of which one must match a part of the name."),
	HYPERVISOR(valid_hypervisor_paths, KEY_LIST, "[]",
		.doc = "Glob patterns of the programs that the annotation path may name."),
	HYPERVISOR(valid_virtio_fs_daemon_paths, KEY_LIST, "[]",
		.doc = "Glob patterns of the programs that the annotation virtio_fs_daemon may name."),
	HYPERVISOR(valid_entropy_sources, KEY_LIST, "[\"/dev/urandom\", \"/dev/random\", \"\"]",
		.doc = "Glob patterns of the files that the annotation entropy_source may name."),
};

const struct key keys_agent[] = {
	AGENT(enable_debug, KEY_BOOL, "false", .doc = "Debug messages of the agent in the log."),
	AGENT(debug_console_enabled, KEY_BOOL, "false",
		.doc = "A shell in the guest, reached by kata-runtime exec. The guest image must contain "
		       "one (kata-guest-image --debug-shell)."),
	AGENT(kernel_modules, KEY_LIST, "[]", .annotation = "config.agent.kernel_modules",
		.list_separator = ';',
		.doc = "Modules that are loaded in the guest, each with its options behind a space."),
	AGENT(dial_timeout, KEY_UINT, "45", .min = 1, .max = 86400,
		.doc = "Seconds without a sign of life of the guest after which its start has failed."),
};

const struct key keys_runtime[] = {
	RUNTIME(enable_debug, KEY_BOOL, "false", .doc = "Debug messages of the shim in the log."),
	RUNTIME(internetworking_model, KEY_STRING, "\"tcfilter\"", .choices = "tcfilter|none",
		.annotation = "config.runtime.internetworking_model",
		.doc = "How the pod's network interface is joined to the guest's. none: no network."),
	RUNTIME(disable_guest_seccomp, KEY_BOOL, "false",
		.annotation = "config.runtime.disable_guest_seccomp",
		.doc = "Do not apply seccomp profiles in the guest. Kata's shipped file says true here; "
		       "our default is to apply them."),
	RUNTIME(static_sandbox_resource_mgmt, KEY_BOOL, "false",
		.doc = "Size the sandbox once, from the pod's annotations, instead of adding CPUs and "
		       "memory with its containers."),
	RUNTIME(sandbox_bind_mounts, KEY_LIST, "[]",
		.doc = "Folders of the host that every guest sees below "
		       "/run/kata-containers/shared/containers/sandbox-mounts, read-only unless :rw "
		       "stands behind."),
	RUNTIME(create_container_timeout, KEY_UINT, "60", .min = 1, .max = 86400,
		.annotation = "config.runtime.create_container_timeout",
		.doc = "Seconds that making a container may take."),
};

const struct key keys_factory[] = {
	FACTORY(enable_template, KEY_BOOL, "true", .annotation = "config.factory.enable_template",
		.doc = "Restore sandboxes from a saved virtual machine instead of booting each "
		       "(the first one on a host boots, and has it made for the others; so does "
		       "kata-runtime factory init). The agent is reached over "
		       "a serial port then. The annotation is not one of Kata's."),
	FACTORY(auto_build_template, KEY_BOOL, "true",
		.doc = "Make a missing saved machine in the background when a sandbox has found none: one at "
		       "a time, with the lowest priority. If that fails, another attempt is made after an "
		       "hour. This key is not one of Kata's."),
	FACTORY(shared_clones, KEY_BOOL, "false", .annotation = "config.factory.shared_clones",
		.doc = "With shared_fs = \"none\", let sandboxes share the memory of the saved machine that "
		       "they are restored from, copy-on-write. docs/templates.md says for which pods "
		       "that saves memory, and what it lets guests learn of each other. With a shared folder "
		       "each sandbox has a copy. This key and the annotation are not Kata's."),
	FACTORY(spares, KEY_UINT, "0", .max = 64,
		.doc = "Virtual machines that are kept ready, with shared folders and an agent that has "
		       "run a process: a pod that finds one need neither boot nor be restored. Each "
		       "takes the memory of an idle sandbox, and is given up where memory runs short. The "
		       "first sandbox of a host has them made, each one that is taken is replaced in "
		       "the background with the lowest priority. A pod whose annotations change this "
		       "configuration takes none; none is made with static_sandbox_resource_mgmt, which "
		       "gives each pod a size of its own. This key is not one of Kata's."),
	FACTORY(template_path, KEY_PATH, "\"/run/vc/vm/template\"",
		.doc = "The folder for saved virtual machines, best on a file system in memory."),
};
/* clang-format on */

const size_t n_keys_hypervisor = ARRAY_SIZE(keys_hypervisor);
const size_t n_keys_agent = ARRAY_SIZE(keys_agent);
const size_t n_keys_runtime = ARRAY_SIZE(keys_runtime);
const size_t n_keys_factory = ARRAY_SIZE(keys_factory);
