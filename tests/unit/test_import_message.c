#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/import/message.h"
#include "store/import/reply.h"

static int pair[2];

static int setup(void **state)
{
	json_init();
	return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair);
}

static int teardown(void **state)
{
	for (int i = 0; i < 2; i++) {
		if (pair[i] >= 0)
			close(pair[i]);
	}
	return 0;
}

static void hang_up(int i)
{
	close(pair[i]);
	pair[i] = -1;
}

static cJSON *object(const char *name, const char *value)
{
	cJSON *o = cJSON_CreateObject();
	assert_int_equal(json_set_str(o, name, value, NULL), 0);
	return o;
}

static void send_object(int i, const char *value, int fd)
{
	JSON_AUTO cJSON *o = object("m", value);
	assert_int_equal(message_send(pair[i], o, fd, NULL), 0);
}

static void expect_object(int i, const char *value, int *ret_fd)
{
	JSON_AUTO cJSON *got = NULL;
	int fd = -2;
	assert_int_equal(message_receive(pair[i], &got, &fd, NULL), 1);
	assert_string_equal(json_str(got, "m"), value);
	if (ret_fd)
		*ret_fd = fd;
	else
		assert_int_equal(fd, -1);
}

static void packets_arrive_whole_and_in_order(void **state)
{
	send_object(0, "one", -1);
	send_object(0, "two", -1);
	send_object(1, "back", -1);
	expect_object(1, "one", NULL);
	expect_object(1, "two", NULL);
	expect_object(0, "back", NULL);
}

static void a_descriptor_comes_along(void **state)
{
	struct stat a, b;
	int fd = open("/dev/null", O_RDONLY), got;
	assert_return_code(fd, errno);
	send_object(0, "x", fd);
	assert_return_code(fcntl(fd, F_GETFD), errno); /* stays the sender's */
	expect_object(1, "x", &got);
	assert_int_not_equal(got, fd);
	assert_int_equal(fcntl(got, F_GETFD), FD_CLOEXEC);
	assert_int_equal(fstat(fd, &a) | fstat(got, &b), 0);
	assert_true(a.st_rdev == b.st_rdev && S_ISCHR(b.st_mode));
	close(fd);
	close(got);
}

static void the_longest_message_fits_the_default_buffer(void **state)
{
	struct pa_err err;
	size_t len = MESSAGE_MAX - strlen("{\"m\":\"\"}");
	char *text = malloc(len + 2);
	memset(text, 'x', len + 1);
	text[len] = '\0';
	fcntl(pair[0], F_SETFL,
		O_NONBLOCK); /* so that too small a buffer fails, and does not hang */
	send_object(0, text, -1);
	expect_object(1, text, NULL);
	text[len] = 'x';
	text[len + 1] = '\0';
	JSON_AUTO cJSON *longer = object("m", text);
	assert_int_equal(message_send(pair[0], longer, -1, &err), -EFBIG);
	assert_int_equal(err.code, PA_TOO_BIG);
	free(text);
}

static void what_is_not_a_message_is_refused(void **state)
{
	static const char *const bad[] = { "x", "[]", "1", "{\"a\":1,\"a\":2}", "{} {}",
		"{\"a\":\"\xff\"}" };
	JSON_AUTO cJSON *got = NULL;
	struct pa_err err;
	int fd = -2;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		assert_int_equal(send(pair[0], bad[i], strlen(bad[i]), 0), strlen(bad[i]));
		assert_int_equal(message_receive(pair[1], &got, &fd, &err), -EBADMSG);
		assert_null(got);
	}
	char *text = malloc(MESSAGE_MAX + 8);
	memset(text, ' ', MESSAGE_MAX + 8);
	memcpy(text, "{}", 2);
	assert_int_equal(send(pair[0], text, MESSAGE_MAX + 1, 0), MESSAGE_MAX + 1);
	assert_int_equal(message_receive(pair[1], &got, &fd, &err), -EBADMSG);
	assert_int_equal(send(pair[0], text, MESSAGE_MAX + 8, 0), MESSAGE_MAX + 8);
	assert_int_equal(message_receive(pair[1], &got, &fd, &err), -EBADMSG);
	free(text);
	send_object(0, "next", -1); /* the conversation goes on */
	expect_object(1, "next", NULL);
}

/* How many descriptors this process has. */
static int count_fds(void)
{
	int n = 0;
	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void send_fds(const char *text, int *fds, size_t n)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(8 * sizeof(int))];
	} control = { 0 };
	struct iovec iov = { (void *)(uintptr_t)text, strlen(text) };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes };
	msg.msg_controllen = CMSG_SPACE(n * sizeof(int));
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(n * sizeof(int));
	memcpy(CMSG_DATA(c), fds, n * sizeof(int));
	assert_int_equal(sendmsg(pair[0], &msg, 0), strlen(text));
}

static void no_descriptor_leaks_from_a_bad_message(void **state)
{
	int fds[8] = { 0, 0, 0, 0, 0, 0, 0, 0 }, fd = -2, before = count_fds();
	JSON_AUTO cJSON *got = NULL;
	send_fds("no json", fds, 1);
	assert_int_equal(message_receive(pair[1], &got, &fd, NULL), -EBADMSG);
	send_fds("{}", fds, 2);
	assert_int_equal(message_receive(pair[1], &got, &fd, NULL), -EBADMSG);
	send_fds("{}", fds, 8); /* more than there is room for */
	assert_int_equal(message_receive(pair[1], &got, &fd, NULL), -EBADMSG);
	assert_int_equal(fd, -2);
	assert_int_equal(count_fds(), before);
}

static void the_end_and_an_empty_socket_are_told_apart(void **state)
{
	JSON_AUTO cJSON *got = NULL;
	struct pa_err err;
	int fd = -2;
	fcntl(pair[0], F_SETFL, O_NONBLOCK);
	assert_int_equal(message_receive(pair[0], &got, &fd, &err), -EAGAIN);
	hang_up(1);
	assert_int_equal(message_receive(pair[0], &got, &fd, &err), 0);
	JSON_AUTO cJSON *o = object("m", "x");
	assert_int_equal(message_send(pair[0], o, -1, &err), -EPIPE);
	assert_int_equal(err.code, PA_SYSTEM);
}

static void a_full_socket_does_not_block(void **state)
{
	JSON_AUTO cJSON *o = object("m", "x");
	struct pa_err err;
	int rc, sent = 0;
	fcntl(pair[0], F_SETFL, O_NONBLOCK);
	while ((rc = message_send(pair[0], o, -1, &err)) == 0 && sent < 100000)
		sent++;
	assert_int_equal(rc, -EAGAIN);
	assert_true(sent > 0);
}

/* The kernel says ECONNRESET first when the peer left with something unread. */
static void what_was_sent_before_the_peer_left_is_read(void **state)
{
	JSON_AUTO cJSON *got = NULL;
	int fd = -2;
	send_object(1, "never read", -1);
	send_object(0, "last wish", -1);
	send_object(0, "and another", -1);
	hang_up(0);
	expect_object(1, "last wish", NULL);
	expect_object(1, "and another", NULL);
	assert_int_equal(message_receive(pair[1], &got, &fd, NULL), 0);
}

static int to_socket(void *arg, const cJSON *message, struct pa_err *err)
{
	return message_send(pair[0], message, -1, err);
}

/* Instead of ending a scan of everything else. */
static void an_entry_too_long_for_a_message_goes_refused(void **state)
{
	const struct import_report to = { to_socket, NULL };
	struct pa_err err = { 0 };
	struct reply r;
	int fd;
	char *text = malloc(MESSAGE_MAX + 1);
	memset(text, 'x', MESSAGE_MAX);
	text[MESSAGE_MAX] = '\0';
	reply_start(&r, "entry", "pi", "/a\xff/b");
	reply_json(&r, "entry", object("key", text));
	assert_int_equal(reply_send(&r, &to, &err), 0);
	free(text);
	JSON_AUTO cJSON *got = NULL;
	assert_int_equal(message_receive(pair[1], &got, &fd, NULL), 1);
	assert_string_equal(json_str(got, "refused"), "too long");
	assert_string_equal(json_str(got, "path"), "/a?/b");
	assert_null(cJSON_GetObjectItemCaseSensitive(got, "entry"));
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(packets_arrive_whole_and_in_order),
		T(a_descriptor_comes_along),
		T(the_longest_message_fits_the_default_buffer),
		T(what_is_not_a_message_is_refused),
		T(no_descriptor_leaks_from_a_bad_message),
		T(the_end_and_an_empty_socket_are_told_apart),
		T(a_full_socket_does_not_block),
		T(what_was_sent_before_the_peer_left_is_read),
		T(an_entry_too_long_for_a_message_goes_refused),
	};
	return cmocka_run_group_tests_name("import_message", tests, NULL, NULL);
}
