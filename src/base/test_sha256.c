/* SPDX-License-Identifier: Apache-2.0 */
#include "base/test.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/sha256.h"

/* The examples of FIPS 180-4 and NIST's long message. */
static void test_known(_unused_ void **state)
{
	static const struct {
		const char *text, *hex;
	} known[] = {
		{"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
		{"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
		{"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
		 "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
	};
	_cleanup_(freep) char *million = xmalloc(1000000);
	char hex[SHA256_HEX_SIZE];

	for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
		sha256_hex(known[i].text, strlen(known[i].text), hex);
		assert_string_equal(hex, known[i].hex);
	}
	memset(million, 'a', 1000000);
	sha256_hex(million, 1000000, hex);
	assert_string_equal(hex,
			    "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

static void test_is_hex(_unused_ void **state)
{
	char hex[SHA256_HEX_SIZE];

	sha256_hex("x", 1, hex);
	assert_true(sha256_is_hex(hex));
	hex[63] = 'g';
	assert_false(sha256_is_hex(hex));
	hex[63] = 'A';
	assert_false(sha256_is_hex(hex));
	hex[63] = '\0';
	assert_false(sha256_is_hex(hex));
	assert_false(sha256_is_hex(""));
}

/* However the bytes arrive, the digest is the same: every length around the block's edge. */
static void test_pieces(_unused_ void **state)
{
	uint8_t data[200], whole[SHA256_SIZE], pieces[SHA256_SIZE];
	struct sha256 s;

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7);
	for (size_t n = 0; n <= sizeof(data); n++) {
		sha256_of(data, n, whole);
		sha256_init(&s);
		for (size_t i = 0; i < n; i++)
			sha256_add(&s, data + i, 1);
		sha256_end(&s, pieces);
		assert_memory_equal(whole, pieces, sizeof(whole));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known),
		cmocka_unit_test(test_is_hex),
		cmocka_unit_test(test_pieces),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
