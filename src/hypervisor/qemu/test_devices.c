/* SPDX-License-Identifier: Apache-2.0 */
#include "base/test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/str.h"
#include "hypervisor/qemu/devices.h"

static const struct block_settings scsi = {.scsi = true, .aio = "threads"};
static const struct block_settings blk = {.aio = "native", .cache_direct = true};

static int some_fd(void)
{
	return open("/dev/null", O_RDWR | O_CLOEXEC);
}

static struct device *make(struct vm_device spec, const struct block_settings *block)
{
	struct device *d = NULL;

	assert_int_equal(device_new(&spec, block, &d, NULL), 0);
	for (size_t i = 0; i < d->n_fds; i++)
		snprintf(d->fds[i].ref, sizeof(d->fds[i].ref),
			 d->fds[i].in_set ? "/dev/fdset/%zu" : "1%zu", i);
	if (device_needs_slot(d)) {
		d->has_slot = true;
		d->slot = (struct slot){.bus = "pci-bridge-0", .number = 10, .path = "02/0a"};
	}
	device_describe(d, &spec, block);
	return d;
}

static void expect(struct device *d, const char *args, const char *json)
{
	_cleanup_(strv_fini) struct strv v = {0};
	_cleanup_(freep) char *text = NULL;
	_cleanup_(freep) char *dumped = NULL;
	json_t *arguments;

	for (size_t i = 0; i < d->n_parts; i++)
		part_to_args(&d->parts[i], &v);
	text = strv_join(&v, " ");
	assert_string_equal(text, args);
	part_to_command(&d->parts[d->n_parts - 1], &arguments);
	dumped = json_dumps(arguments, JSON_COMPACT);
	json_decref(arguments);
	assert_string_equal(dumped, json);
	device_free(d);
}

static void test_golden(_unused_ void **state)
{
	expect(make((struct vm_device){.type = VM_DEVICE_SERIAL,
				       .id = "agent",
				       .serial = {"org.kata-containers.agent.0", some_fd()}},
		    &scsi),
	       "-chardev socket,id=char-agent,fd=10 -device virtserialport,id=agent,bus=serial0.0,"
	       "chardev=char-agent,name=org.kata-containers.agent.0",
	       "{\"driver\":\"virtserialport\",\"id\":\"agent\",\"bus\":\"serial0.0\","
	       "\"chardev\":\"char-agent\",\"name\":\"org.kata-containers.agent.0\"}");
	expect(make((struct vm_device){.type = VM_DEVICE_VSOCK,
				       .id = "vsock0",
				       .vsock = {some_fd(), 4711}},
		    &scsi),
	       "-device vhost-vsock-pci,id=vsock0,bus=pci-bridge-0,addr=a,disable-legacy=on,"
	       "vhostfd=10,guest-cid=4711",
	       "{\"driver\":\"vhost-vsock-pci\",\"id\":\"vsock0\",\"bus\":\"pci-bridge-0\","
	       "\"addr\":\"a\",\"disable-legacy\":true,\"vhostfd\":\"10\",\"guest-cid\":4711}");
	expect(make((struct vm_device){.type = VM_DEVICE_FS,
				       .id = "shared",
				       .fs = {"kataShared", some_fd(), 0, 0}},
		    &scsi),
	       "-chardev socket,id=char-shared,fd=10 -device vhost-user-fs-pci,id=shared,"
	       "bus=pci-bridge-0,addr=a,chardev=char-shared,tag=kataShared,queue-size=1024",
	       "{\"driver\":\"vhost-user-fs-pci\",\"id\":\"shared\",\"bus\":\"pci-bridge-0\","
	       "\"addr\":\"a\",\"chardev\":\"char-shared\",\"tag\":\"kataShared\","
	       "\"queue-size\":1024}");
	expect(make((struct vm_device){.type = VM_DEVICE_NET,
				       .id = "network-0",
				       .net = {some_fd(), some_fd(), "02:00:00:00:00:01", 1450}},
		    &scsi),
	       "-netdev tap,id=netdev-network-0,fd=10,vhost=on,vhostfd=11 -device "
	       "virtio-net-pci,id=network-0,bus=pci-bridge-0,addr=a,disable-legacy=on,"
	       "netdev=netdev-network-0,mac=02:00:00:00:00:01,host_mtu=1450,romfile=",
	       "{\"driver\":\"virtio-net-pci\",\"id\":\"network-0\",\"bus\":\"pci-bridge-0\","
	       "\"addr\":\"a\",\"disable-legacy\":true,\"netdev\":\"netdev-network-0\","
	       "\"mac\":\"02:00:00:00:00:01\",\"host_mtu\":1450,\"romfile\":\"\"}");
}

static void test_disks(_unused_ void **state)
{
	struct vm_device spec = {.type = VM_DEVICE_BLOCK, .id = "disk0"};
	struct vm_device_address address;
	struct device *d;

	spec.block.read_only = true;
	spec.block.fd = some_fd();
	d = make(spec, &scsi);
	d->scsi_index = 259;
	device_get_address(d, &address);
	assert_string_equal(address.scsi, "1:3");
	assert_string_equal(address.pci_path, "");
	expect(d,
	       "-blockdev raw,node-name=drive-disk0,read-only=on,file.driver=file,"
	       "file.filename=/dev/fdset/0,file.aio=threads,file.cache.direct=off,"
	       "file.cache.no-flush=off -device scsi-hd,id=disk0,bus=scsi0.0,channel=0,scsi-id=0,"
	       "lun=0,drive=drive-disk0,share-rw=on",
	       "{\"driver\":\"scsi-hd\",\"id\":\"disk0\",\"bus\":\"scsi0.0\",\"channel\":0,"
	       "\"scsi-id\":0,\"lun\":0,\"drive\":\"drive-disk0\",\"share-rw\":true}");
	spec.block.fd = some_fd();
	spec.block.logical_sector_size = 4096;
	d = make(spec, &blk);
	device_get_address(d, &address);
	assert_string_equal(address.pci_path, "02/0a");
	assert_string_equal(address.scsi, "");
	expect(d,
	       "-blockdev raw,node-name=drive-disk0,read-only=on,file.driver=file,"
	       "file.filename=/dev/fdset/0,file.aio=native,file.cache.direct=on,"
	       "file.cache.no-flush=off -device virtio-blk-pci,id=disk0,bus=pci-bridge-0,addr=a,"
	       "disable-legacy=on,drive=drive-disk0,share-rw=on,logical_block_size=4096",
	       "{\"driver\":\"virtio-blk-pci\",\"id\":\"disk0\",\"bus\":\"pci-bridge-0\","
	       "\"addr\":\"a\",\"disable-legacy\":true,\"drive\":\"drive-disk0\","
	       "\"share-rw\":true,\"logical_block_size\":4096}");
}

/* Refused, and the descriptors are closed all the same. */
static void refuse(struct vm_device spec, int fd, int expected, const char *text)
{
	_cleanup_err_ struct err err = {0};
	struct device *d = NULL;

	assert_int_equal(device_new(&spec, &scsi, &d, &err), expected);
	assert_null(d);
	if (!strstr(err_text(&err), text))
		fail_msg("%s", err_text(&err));
	if (fd >= 0)
		assert_int_equal(fcntl(fd, F_GETFD), -1);
}

static void test_refusals(_unused_ void **state)
{
	struct vm_device d = {.type = VM_DEVICE_BLOCK, .id = "disk0"};
	int fd;

	d.block.fd = fd = some_fd();
	d.block.format = "qcow2";
	refuse(d, fd, -ENOSYS, "format qcow2 is not supported");
	d.block.fd = fd = some_fd();
	d.block.format = "raw";
	d.id = "a,b=c";
	refuse(d, fd, -EINVAL, "is no device id");
	d.block.fd = fd = some_fd();
	d.id = NULL;
	refuse(d, fd, -EINVAL, "is no device id");
	d.id = "disk0";
	d.block.fd = -1;
	refuse(d, -1, -EBADF, "no descriptor");
	d = (struct vm_device){.type = VM_DEVICE_SERIAL, .id = "a"};
	d.serial.fd = fd = some_fd();
	refuse(d, fd, -EINVAL, "has no name");
	d = (struct vm_device){.type = VM_DEVICE_VSOCK, .id = "a"};
	d.vsock.vhost_fd = fd = some_fd();
	d.vsock.cid = 2;
	refuse(d, fd, -EINVAL, "CID 2 is reserved");
	d = (struct vm_device){.type = VM_DEVICE_FS, .id = "a"};
	d.fs.tag = "0123456789012345678901234567890123456789";
	d.fs.fd = fd = some_fd();
	refuse(d, fd, -EINVAL, "1 to 35 bytes");
	d.fs.tag = "t";
	d.fs.cache_size_mib = 1024;
	d.fs.fd = fd = some_fd();
	refuse(d, fd, -ENOSYS, "virtio_fs_cache_size");
	d = (struct vm_device){.type = VM_DEVICE_NET, .id = "a"};
	d.net.tap_fd = fd = some_fd();
	d.net.vhost_fd = -1;
	refuse(d, fd, -EINVAL, "no MAC address");
	d.type = 99;
	refuse(d, -1, -EINVAL, "unknown kind");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_golden),
		cmocka_unit_test(test_disks),
		cmocka_unit_test(test_refusals),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
