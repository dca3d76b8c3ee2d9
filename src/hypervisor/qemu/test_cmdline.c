/* SPDX-License-Identifier: Apache-2.0 */
#include "base/test.h"

#include <errno.h>
#include <stdio.h>

#include "base/str.h"
#include "hypervisor/qemu/cmdline.h"

/* The whole command line, one option a line. */

static struct vm vm;

static int setup(_unused_ void **state)
{
	memset(&vm, 0, sizeof(vm));
	list_init(&vm.devices);
	vm.memory_fd = -1;
	vm.config = (struct vm_config){
		.id = "0123abc",
		.run_dir = "/run/vc/vm/0123abc",
		.hypervisor_path = "/usr/bin/qemu-system-x86_64",
		.machine_type = "q35",
		.cpu_features = "pmu=off",
		.kernel = "/k",
		.initrd = "/i",
		.kernel_params = "panic=1 quiet",
		.vcpus = 1,
		.max_vcpus = 8,
		.memory_mib = 2048,
		.max_memory_mib = 16000,
		.memory_slots = 10,
		.shared_memory = true,
		.bridges = 1,
	};
	return 0;
}

static char *render(void)
{
	struct cmdline_start start = {
		.id = vm.config.id,
		.run_dir = vm.config.run_dir,
		.uuid = "1-2-3",
		.monitor_fd = 10,
		.console_fd = 11,
		.memory_fd = 12,
		.image_size = 1 << 20,
	};
	_cleanup_(strv_fini) struct strv args = {0};
	struct buf b = {0};

	assert_int_equal(cmdline_layout(&vm, NULL), 0);
	cmdline_build(&vm, &start, &args);
	for (size_t i = 0; i < args.n; i++) {
		if (i && args.v[i][0] == '-')
			buf_addc(&b, '\n');
		buf_addf(&b, "%s%s", i && args.v[i][0] != '-' ? " " : "", args.v[i]);
	}
	return buf_take(&b);
}

static const char kvm_golden[] =
	"/usr/bin/qemu-system-x86_64\n"
	"-name sandbox-0123abc,debug-threads=on\n"
	"-uuid 1-2-3\n"
	"-machine "
	"q35,accel=kvm,usb=off,vmport=off,smbus=off,sata=off,hpet=off,mem-merge=off,memory-backend="
	"dimm1\n"
	"-qmp unix:/run/vc/vm/0123abc/qmp.sock,server=on,wait=off\n"
	"-chardev socket,id=monitor,fd=10\n"
	"-mon chardev=monitor,mode=control\n"
	"-m 2048M,slots=10,maxmem=16000M\n"
	"-object memory-backend-memfd,id=dimm1,size=2147483648,share=on\n"
	"-cpu host,pmu=off\n"
	"-smp 1,cores=1,threads=1,sockets=8,maxcpus=8\n"
	"-device pci-bridge,id=pci-bridge-0,bus=pcie.0,chassis_nr=1,shpc=off,addr=2,"
	"io-reserve=4k,mem-reserve=1m,pref64-reserve=1m\n"
	"-device virtio-serial-pci,id=serial0,bus=pcie.0,addr=1,disable-legacy=on\n"
	"-add-fd fd=11,set=0\n"
	"-chardev socket,id=charconsole0,path=/run/vc/vm/0123abc/console.sock,server=on,wait=off,"
	"logfile=/dev/fdset/0,logappend=on\n"
	"-device virtconsole,chardev=charconsole0,id=console0\n"
	"-device virtio-scsi-pci,id=scsi0,bus=pcie.0,addr=3,disable-legacy=on\n"
	"-object rng-random,id=rng0,filename=/dev/urandom\n"
	"-device virtio-rng-pci,id=rng0dev,bus=pcie.0,addr=4,disable-legacy=on,rng=rng0\n"
	"-rtc base=utc,driftfix=slew,clock=host\n"
	"-global kvm-pit.lost_tick_policy=discard\n"
	"-vga none\n"
	"-display none\n"
	"-no-user-config\n"
	"-nodefaults\n"
	"-no-reboot\n"
	"-sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny\n"
	"-kernel /k\n"
	"-initrd /i\n"
	"-append panic=1 quiet";

static void test_kvm(_unused_ void **state)
{
	_cleanup_(freep) char *text = NULL;

	vm.accel = VM_ACCEL_KVM;
	text = render();
	assert_string_equal(text, kvm_golden);
}

static void contains(const char *line)
{
	_cleanup_(freep) char *text = render();
	_cleanup_(freep) char *framed = xasprintf("\n%s\n", text);
	_cleanup_(freep) char *wanted = xasprintf("\n%s\n", line);

	if (!strstr(framed, wanted))
		fail_msg("no \"%s\" in:\n%s", line, text);
}

static void lacks(const char *what)
{
	_cleanup_(freep) char *text = render();

	if (strstr(text, what))
		fail_msg("\"%s\" in:\n%s", what, text);
}

static void test_emulated(_unused_ void **state)
{
	vm.accel = VM_ACCEL_TCG;
	contains("-cpu max,la57=off,pmu=off");
	contains("-accel tcg,thread=multi,tb-size=32");
	lacks("accel=kvm");
	lacks("kvm-pit");
}

static void test_image(_unused_ void **state)
{
	vm.config.initrd = NULL;
	vm.config.image = "/img,1";
	vm.config.image_nvdimm = true;
	contains("-object memory-backend-file,id=mem0,mem-path=/img,,1,size=1048576,share=on,"
		 "readonly=on");
	contains("-device nvdimm,id=nv0,memdev=mem0,unarmed=on");
	contains("-append root=/dev/pmem0p1 rootflags=dax,errors=remount-ro ro "
		 "rootfstype=ext4 panic=1 quiet");
	vm.config.image_nvdimm = false;
	vm.config.rootfs_type = "erofs";
	contains("-blockdev raw,node-name=image,read-only=on,file.driver=file,"
		 "file.filename=/img,,1,file.locking=off");
	contains("-device virtio-blk-pci,id=image0,bus=pcie.0,addr=5,disable-legacy=on,"
		 "drive=image");
	contains("-append root=/dev/vda1 ro rootfstype=erofs panic=1 quiet");
	lacks("-initrd");
	/* What mounts the image, where the kernel cannot. */
	vm.config.initrd = "/img.initrd";
	contains("-initrd /img.initrd");
}

static void test_variants(_unused_ void **state)
{
	vm.config.max_memory_mib = 2048;
	contains("-m 2048M");
	vm.config.memory_prealloc = true;
	vm.config.shared_memory = false;
	contains("-object memory-backend-ram,id=dimm1,size=2147483648,prealloc=on");
	vm.config.hugepages = true;
	contains("-object memory-backend-memfd,id=dimm1,size=2147483648,share=off,hugetlb=on,"
		 "prealloc=on");
	lacks("-incoming");
	vm.memory_fd = 5;
	vm.restored = true;
	contains("-object memory-backend-file,id=dimm1,size=2147483648,mem-path=/proc/self/fd/12,"
		 "share=on");
	contains("-incoming defer");
	vm.copy_on_write = true;
	contains("-object memory-backend-file,id=dimm1,size=2147483648,mem-path=/proc/self/fd/12,"
		 "share=off");
	vm.config.machine_accelerators = "kernel_irqchip=split";
	vm.accel = VM_ACCEL_KVM;
	contains("-machine "
		 "q35,accel=kvm,usb=off,vmport=off,smbus=off,sata=off,hpet=off,mem-merge=off,"
		 "memory-backend=dimm1,kernel_irqchip=split");
	vm.config.root_ports = 1;
	contains("-device pcie-root-port,id=rp0,bus=pcie.0,chassis=1,slot=1,addr=1");
	vm.config.bridges = 2;
	contains("-device pci-bridge,id=pci-bridge-1,bus=pcie.0,chassis_nr=2,shpc=off,addr=3,"
		 "io-reserve=4k,mem-reserve=1m,pref64-reserve=1m");
	vm.config.firmware = "/fw";
	contains("-bios /fw");
	vm.config.seccomp_sandbox = "off";
	contains("-sandbox off");
	vm.config.entropy_source = "/dev/hwrng";
	contains("-object rng-random,id=rng0,filename=/dev/hwrng");
	lacks("isa-serial");
	vm.config.debug = true;
	contains("-device isa-serial,chardev=charserial0,id=legacy0");
}

/* A large host's limits are not an error. */
static void test_clamps(_unused_ void **state)
{
	vm.config.max_vcpus = 1024;
	assert_int_equal(machine_check(&vm.config, NULL), 0);
	vm.config.max_memory_mib = 4 << 20;
	machine_clamp(&vm.config, VM_ACCEL_KVM);
	contains("-smp 1,cores=1,threads=1,sockets=240,maxcpus=240");
	contains("-m 2048M,slots=10,maxmem=4194304M");
	machine_clamp(&vm.config, VM_ACCEL_TCG);
	contains("-m 2048M,slots=10,maxmem=524288M");
	vm.config.max_vcpus = 0;
	vm.config.max_memory_mib = 0;
	machine_clamp(&vm.config, VM_ACCEL_TCG);
	contains("-smp 1,cores=1,threads=1,sockets=1,maxcpus=1");
	contains("-m 2048M");
}

/* What cannot be is refused before anything is made. */
static void test_refusals(_unused_ void **state)
{
	static const struct {
		const char *text;
		struct vm_config change;
	} cases[] = {
		{"machine_type \"microvm\" is not supported", {.machine_type = "microvm"}},
		{"machine_type \"\" is not supported", {0}},
		{"1 to 240 vCPUs", {.machine_type = "q35", .memory_mib = 128}},
		{"1 to 240 vCPUs", {.machine_type = "q35", .memory_mib = 128, .vcpus = 241}},
		{"too little", {.machine_type = "q35", .memory_mib = 31, .vcpus = 1}},
		{"at most 5 PCI bridges",
		 {.machine_type = "q35", .memory_mib = 128, .vcpus = 1, .bridges = 6}},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_err_ struct err err = {0};

		assert_true(machine_check(&cases[i].change, &err) < 0);
		if (!strstr(err_text(&err), cases[i].text))
			fail_msg("%s", err_text(&err));
	}
	assert_int_equal(machine_check(&vm.config, NULL), 0);
	vm.config.root_ports = 17;
	assert_int_equal(machine_check(&vm.config, NULL), -EINVAL);
	/* The most there can be has room for devices. */
	vm.config.bridges = 5;
	vm.config.root_ports = 16;
	assert_int_equal(machine_check(&vm.config, NULL), 0);
	assert_int_equal(cmdline_layout(&vm, NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_kvm, setup),
		cmocka_unit_test_setup(test_emulated, setup),
		cmocka_unit_test_setup(test_image, setup),
		cmocka_unit_test_setup(test_variants, setup),
		cmocka_unit_test_setup(test_clamps, setup),
		cmocka_unit_test_setup(test_refusals, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
