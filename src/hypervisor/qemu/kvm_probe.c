/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "base/alloc.h"
#include "hypervisor/qemu/accel.h"

/*
 * How it works: two runs in one VM with 64 KiB of memory.
 *
 * The first is real mode: write a byte to a port, halt. It proves that a vCPU can be entered at
 * all. The second starts in 64-bit mode with paging, a GDT and an IDT: twenty million turns of a
 * loop, reload CR3, an exception through the IDT and back, write a byte to a port, halt. A
 * processor with virtualisation needs about 10 ms for it; a KVM that interprets such code
 * instruction by instruction, as one without hardware virtualisation below it does, runs into the
 * caller's time limit.
 *
 * What it proves is that, and not that every kernel boots.
 */

#define MEMORY_SIZE   0x10000
#define PML4          0x1000
#define PDPT          0x2000
#define PD            0x3000
#define GDT           0x4000
#define IDT           0x5000
#define STACK         0x8000
#define CODE          0x8000
#define HANDLER       0x9000
#define PORT          0x3f8
#define ANSWER        'K'
#define EXITS_MAX     64
#define TSS_ADDRESS   0xfffbd000UL /* anywhere without memory */
#define CPUID_ENTRIES 256

#define CR0_PE   (1U << 0)
#define CR0_ET   (1U << 4)
#define CR0_NE   (1U << 5)
#define CR0_PG   (1U << 31)
#define CR4_PAE  (1U << 5)
#define EFER_LME (1U << 8)
#define EFER_LMA (1U << 10)

static const uint8_t real_code[] = {
	0xba, PORT & 0xff, PORT >> 8, /* mov $PORT, %dx */
	0xb0, ANSWER,                 /* mov $ANSWER, %al */
	0xee,                         /* out %al, (%dx) */
	0xf4,                         /* hlt */
};

static const uint8_t long_code[] = {
	0xb9, 0x00, 0x2d,        0x31,      0x01, /* mov $20000000, %ecx */
	0xff, 0xc9,                               /* dec %ecx */
	0x75, 0xfc,                               /* jnz to the dec */
	0x0f, 0x20, 0xd8,                         /* mov %cr3, %rax */
	0x0f, 0x22, 0xd8,                         /* mov %rax, %cr3 */
	0xcc,                                     /* int3 */
	0x88, 0xd8,                               /* mov %bl, %al */
	0x66, 0xba, PORT & 0xff, PORT >> 8,       /* mov $PORT, %dx */
	0xee,                                     /* out %al, (%dx) */
	0xf4,                                     /* hlt */
};

static const uint8_t handler_code[] = {
	0xb3, ANSWER, /* mov $ANSWER, %bl */
	0x48, 0xcf,   /* iretq */
};

struct probe {
	int kvm, vm, vcpu;
	uint8_t *memory;
	struct kvm_run *run;
};

/* Whoever says so without a reason has failed all the same. */
static int failure(void)
{
	int r = -errno;

	return r < 0 ? r : -EIO;
}

/* 64-bit mode is only for a processor that is said to have it. */
static int set_cpuid(struct probe *p)
{
	_cleanup_(freep) struct kvm_cpuid2 *cpuid = xcalloc(
		1, sizeof(*cpuid) + CPUID_ENTRIES * sizeof(cpuid->entries[0]));

	cpuid->nent = CPUID_ENTRIES;
	if (ioctl(p->kvm, KVM_GET_SUPPORTED_CPUID, cpuid) < 0 ||
	    ioctl(p->vcpu, KVM_SET_CPUID2, cpuid) < 0)
		return failure();
	return 0;
}

static int create(struct probe *p, const char *path, const char **step)
{
	struct kvm_userspace_memory_region region = {.memory_size = MEMORY_SIZE};
	int run_size, r;

	*step = "open";
	p->kvm = open(path, O_RDWR | O_CLOEXEC);
	if (p->kvm < 0)
		return failure();
	*step = "KVM_GET_API_VERSION";
	if (ioctl(p->kvm, KVM_GET_API_VERSION, 0) != KVM_API_VERSION)
		return -EPROTO;
	*step = "KVM_CREATE_VM";
	p->vm = ioctl(p->kvm, KVM_CREATE_VM, 0);
	if (p->vm < 0)
		return failure();
	/* What Intel processors without "unrestricted guest" need for real mode; others refuse it.
	 */
	(void)ioctl(p->vm, KVM_SET_TSS_ADDR, TSS_ADDRESS);
	*step = "memory for the test VM";
	p->memory = mmap(NULL, MEMORY_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
			 0);
	if (p->memory == MAP_FAILED)
		return failure();
	region.userspace_addr = (uintptr_t)p->memory;
	if (ioctl(p->vm, KVM_SET_USER_MEMORY_REGION, &region) < 0)
		return failure();
	*step = "KVM_CREATE_VCPU";
	p->vcpu = ioctl(p->vm, KVM_CREATE_VCPU, 0);
	run_size = ioctl(p->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (p->vcpu < 0 || run_size < (int)sizeof(*p->run))
		return failure();
	*step = "KVM_SET_CPUID2";
	r = set_cpuid(p);
	if (r < 0)
		return r;
	*step = "map the vCPU";
	p->run = mmap(NULL, (size_t)run_size, PROT_READ | PROT_WRITE, MAP_SHARED, p->vcpu, 0);
	return p->run == MAP_FAILED ? failure() : 0;
}

/* Runs until the guest halts; it must have written ANSWER to PORT before. */
static int run_to_halt(struct probe *p)
{
	bool answered = false;

	for (int i = 0; i < EXITS_MAX; i++) {
		if (ioctl(p->vcpu, KVM_RUN, 0) < 0) {
			if (errno == EINTR || errno == EAGAIN)
				continue;
			return failure();
		}
		if (p->run->exit_reason == KVM_EXIT_HLT)
			return answered ? 0 : -EIO;
		if (p->run->exit_reason != KVM_EXIT_IO || p->run->io.port != PORT ||
		    p->run->io.direction != KVM_EXIT_IO_OUT)
			return -EIO;
		answered = ((uint8_t *)p->run)[p->run->io.data_offset] == ANSWER;
	}
	return -EIO;
}

static int enter(struct probe *p, struct kvm_sregs *sregs, const uint8_t *code, size_t n)
{
	struct kvm_regs regs = {.rip = CODE, .rsp = STACK, .rflags = 2};

	memcpy(p->memory + CODE, code, n);
	if (ioctl(p->vcpu, KVM_SET_SREGS, sregs) < 0 || ioctl(p->vcpu, KVM_SET_REGS, &regs) < 0)
		return failure();
	return run_to_halt(p);
}

static void put64(struct probe *p, unsigned at, uint64_t value)
{
	memcpy(p->memory + at, &value, sizeof(value));
}

static void make_long_mode(struct probe *p, struct kvm_sregs *s)
{
	struct kvm_segment code = {
		.limit = 0xffffffff,
		.selector = 8,
		.type = 11,
		.present = 1,
		.s = 1,
		.l = 1,
		.g = 1,
	};
	struct kvm_segment data = code;

	put64(p, PML4, PDPT | 3);
	put64(p, PDPT, PD | 3);
	put64(p, PD, 0x83); /* 2 MiB from 0 on, present, writable */
	put64(p, GDT + 8, 0x00af9b000000ffff);
	put64(p, GDT + 16, 0x00cf93000000ffff);
	/* Vector 3, an interrupt gate: selector 8, HANDLER. */
	put64(p, IDT + 3 * 16, (HANDLER & 0xffffULL) | 8ULL << 16 | 0x8e00ULL << 32);
	memcpy(p->memory + HANDLER, handler_code, sizeof(handler_code));
	data.type = 3;
	data.selector = 16;
	data.l = 0;
	data.db = 1;
	s->cs = code;
	s->ds = s->es = s->fs = s->gs = s->ss = data;
	s->gdt.base = GDT;
	s->gdt.limit = 23;
	s->idt.base = IDT;
	s->idt.limit = 4 * 16 - 1;
	s->cr3 = PML4;
	s->cr4 = CR4_PAE;
	s->cr0 = CR0_PE | CR0_ET | CR0_NE | CR0_PG;
	s->efer = EFER_LME | EFER_LMA;
}

int kvm_probe(void *kvm_path, void *reply)
{
	struct probe p = {.kvm = -1, .vm = -1, .vcpu = -1};
	struct kvm_sregs sregs;
	const char *step;
	int r;

	/* The process ends right after: nothing is undone here. */
	r = create(&p, kvm_path, &step);
	if (r == 0) {
		step = "test VM in real mode";
		r = ioctl(p.vcpu, KVM_GET_SREGS, &sregs) < 0 ? failure() : 0;
	}
	if (r == 0) {
		sregs.cs.base = 0;
		sregs.cs.selector = 0;
		r = enter(&p, &sregs, real_code, sizeof(real_code));
	}
	if (r == 0) {
		step = "test VM in 64-bit mode";
		make_long_mode(&p, &sregs);
		r = enter(&p, &sregs, long_code, sizeof(long_code));
	}
	if (r < 0)
		snprintf(reply, ACCEL_REASON_MAX, "%s: %s: %s", (char *)kvm_path, step,
			 strerror(-r));
	return r;
}
