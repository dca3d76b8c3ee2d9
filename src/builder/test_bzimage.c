/* SPDX-License-Identifier: Apache-2.0 */
#include "base/test.h"

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "builder/bzimage.h"

#define IMAGE_SIZE 4096
#define SETUP_LEN  (3 * 512) /* setup_sects = 2 */

static void put_u32(uint8_t *p, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		p[i] = (uint8_t)(v >> (8 * i));
}

/* A small but right image: the payload is 100 bytes at SETUP_LEN + 16. */
static void make_image(uint8_t image[IMAGE_SIZE])
{
	memset(image, 0, IMAGE_SIZE);
	image[0x1f1] = 2;
	memcpy(image + 0x202, "HdrS", 4);
	image[0x206] = 0x0f;
	image[0x207] = 0x02;
	image[0x20e] = 0x80; /* 0x200 + 0x80 */
	memcpy(image + 0x280, "6.1.0-56-cloud-amd64 (debian) #1 SMP", 37);
	put_u32(image + 0x248, 16);
	put_u32(image + 0x24c, 100);
}

static void test_parse(_unused_ void **state)
{
	uint8_t image[IMAGE_SIZE];
	struct bzimage bz;

	make_image(image);
	assert_int_equal(bzimage_parse(image, sizeof(image), &bz), 0);
	assert_ptr_equal(bz.payload, image + SETUP_LEN + 16);
	assert_int_equal(bz.payload_len, 100);
	assert_string_equal(bz.release, "6.1.0-56-cloud-amd64");
	assert_string_equal(bz.build, "6.1.0-56-cloud-amd64 (debian) #1 SMP");
}

static void test_setup_sects_default(_unused_ void **state)
{
	uint8_t image[IMAGE_SIZE];
	struct bzimage bz;

	make_image(image);
	image[0x1f1] = 0; /* means 4 */
	assert_int_equal(bzimage_parse(image, sizeof(image), &bz), 0);
	assert_ptr_equal(bz.payload, image + 5 * 512 + 16);
}

static void test_not_an_image(_unused_ void **state)
{
	uint8_t image[IMAGE_SIZE];
	struct bzimage bz = {.payload_len = 77};

	make_image(image);
	image[0x202] = 'h';
	assert_int_equal(bzimage_parse(image, sizeof(image), &bz), -ENOEXEC);
	make_image(image);
	assert_int_equal(bzimage_parse(image, 0x24f, &bz), -ENOEXEC);
	assert_int_equal(bzimage_parse("", 0, &bz), -ENOEXEC);
	image[0x206] = 0x07;
	assert_int_equal(bzimage_parse(image, sizeof(image), &bz), -ENOSYS);
	assert_int_equal(bz.payload_len, 77);
}

static void test_hostile_offsets(_unused_ void **state)
{
	static const struct {
		uint8_t setup_sects;
		uint32_t offset, length;
	} cases[] = {
		{2, UINT32_MAX, 100},
		{2, 16, UINT32_MAX},
		{2, UINT32_MAX, UINT32_MAX},
		{255, 16, 100},
		{2, 16, 0},
		{2, IMAGE_SIZE - SETUP_LEN + 1, 1},
		{2, 0, IMAGE_SIZE},
		{2, 0x80000000U, 16U},
	};
	uint8_t image[IMAGE_SIZE];
	struct bzimage bz;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		make_image(image);
		image[0x1f1] = cases[i].setup_sects;
		put_u32(image + 0x248, cases[i].offset);
		put_u32(image + 0x24c, cases[i].length);
		assert_int_equal(bzimage_parse(image, sizeof(image), &bz), -EBADMSG);
	}
	/* To the very last byte is fine. */
	make_image(image);
	put_u32(image + 0x248, 0);
	put_u32(image + 0x24c, IMAGE_SIZE - SETUP_LEN);
	assert_int_equal(bzimage_parse(image, sizeof(image), &bz), 0);
}

static void test_hostile_version(_unused_ void **state)
{
	uint8_t image[IMAGE_SIZE];
	struct bzimage bz;

	/* Outside of the setup part: no version. */
	make_image(image);
	image[0x20e] = image[0x20f] = 0xff;
	assert_int_equal(bzimage_parse(image, sizeof(image), &bz), 0);
	assert_string_equal(bz.release, "");
	/* Without an end: cut at what the setup part has; unprintable bytes end it. */
	make_image(image);
	memset(image + 0x280, 'x', IMAGE_SIZE - 0x280);
	assert_int_equal(bzimage_parse(image, sizeof(image), &bz), 0);
	assert_string_equal(bz.release, "");
	assert_int_equal(strlen(bz.build), sizeof(bz.build) - 1);
	image[0x283] = '\033';
	assert_int_equal(bzimage_parse(image, sizeof(image), &bz), 0);
	assert_string_equal(bz.release, "xxx");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse),           cmocka_unit_test(test_setup_sects_default),
		cmocka_unit_test(test_not_an_image),    cmocka_unit_test(test_hostile_offsets),
		cmocka_unit_test(test_hostile_version),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
