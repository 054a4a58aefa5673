#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "store/import/file.h"
#include "store/secret.h"
#include "tests/lib/failinject.h"
#include "tests/lib/scratch.h"

#define NOBODY 65534
#define OLD    "{\n  \"a\": {\n    \"refresh\": \"fake-old\"\n  }\n}"
#define NEW    "{\n  \"a\": {\n    \"refresh\": \"fake-new-and-longer\"\n  }\n}"
#define SHORT  "{\n  \"a\": 1\n}"

static int setup(void **state)
{
	json_init();
	alarm(60); /* what hangs has failed */
	assert_return_code(chmod(scratch_new(), 0755), errno);
	return 0;
}

static int teardown(void **state)
{
	scratch_free();
	return 0;
}

static void put(const char *path, const char *text)
{
	scratch_write(path, 0600, text, strlen(text));
}

static void assert_holds(const char *path, const char *text)
{
	char *is = scratch_read(path, NULL);
	assert_string_equal(is, text);
	free(is);
}

static cJSON *tree(const char *text)
{
	cJSON *t = NULL;
	assert_int_equal(json_parse(text, strlen(text), PA_CONFIG, &t, NULL, NULL), 0);
	return t;
}

/* Reads path and replaces it by what text says. */
static int replace(const char *path, const char *text, struct pa_err *err)
{
	JSON_AUTO cJSON *root = tree(text);
	struct file f;
	file_read(path, false, &f);
	int rc = file_replace(path, &f, root, err);
	file_done(&f);
	return rc;
}

static void assert_replaces(const char *path, const char *text)
{
	struct pa_err err = { 0 };
	if (replace(path, text, &err) < 0)
		fail_msg("%s", err.detail);
}

static void assert_no_temp(void)
{
	assert_int_equal(scratch_count(".", ".f.piauth-"), 0);
}

/* Runs in a child, as root in a mount namespace of its own; skipped where that is not possible. */
static void in_namespace(void (*test)(void))
{
	int status;
	pid_t pid = fork();
	if (pid == 0) {
		if (geteuid() != 0 || unshare(CLONE_NEWNS) < 0 ||
			mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) < 0)
			_exit(77);
		test();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		skip();
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* In such a child, where cmocka cannot help. */
#define MUST(what)                                                                 \
	do {                                                                       \
		if (!(what)) {                                                     \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #what); \
			_exit(1);                                                  \
		}                                                                  \
	} while (0)

/* ---- reading ---- */

static void assert_read(const char *path, enum file_state state, const char *reason, size_t offset)
{
	struct file f;
	file_read(path, false, &f);
	if (f.state != state || strcmp(f.reason, reason) != 0 || f.offset != offset)
		fail_msg("%s: %s at %zu: %s", path, file_state_name(f.state), f.offset, f.reason);
	assert_true((f.root != NULL) == (state == FILE_FOUND));
	file_done(&f);
}

static void a_document_is_read(void **state)
{
	struct file f;
	scratch_write("f", 0640, OLD "\n", strlen(OLD) + 1);
	file_read("f", false, &f);
	assert_int_equal(f.state, FILE_FOUND);
	assert_string_equal(json_str(json_at(f.root, "/a"), "refresh"), "fake-old");
	assert_string_equal(f.text, OLD "\n");
	assert_int_equal(f.len, strlen(OLD) + 1);
	assert_false(f.compact || f.bom);
	assert_int_equal(f.st.st_mode & 07777, 0640);
	assert_string_equal(f.reason, "");
	file_done(&f);
	put("c", "{\"a\":1}");
	file_read("c", false, &f);
	assert_true(f.state == FILE_FOUND && f.compact);
	file_done(&f);
	file_read("c", true, &f);
	assert_true(f.state == FILE_FOUND && !f.root);
	assert_string_equal(f.text, "{\"a\":1}");
	file_done(&f);
}

static void absent_is_not_unreadable(void **state)
{
	assert_read("f", FILE_ABSENT, "", 0);
	assert_read("no/such/dir", FILE_ABSENT, "", 0);
	put("plain", "{}");
	assert_read("plain/f", FILE_ABSENT, "", 0);
	assert_return_code(symlink("nowhere", "f"), errno);
	assert_read("f", FILE_ABSENT, "a symbolic link to nothing", 0);
	assert_return_code(symlink("b", "a") | symlink("a", "b"), errno);
	assert_read("a", FILE_UNREADABLE, "Too many levels of symbolic links", 0);
}

static void what_is_corrupt_is_named_with_its_offset(void **state)
{
	char deep[128] = { 0 };
	memset(deep, '[', 40);
	static const struct {
		const char *text, *reason;
		size_t offset;
	} cases[] = {
		{ "", "empty", 0 },
		{ " \n", "line 2: the text ends too early", 2 },
		{ "{\"a\": {\"type\": \"oauth\", \"acc", "line 1: the text ends too early", 28 },
		{ "{\"a\": x}", "line 1: no value where one must be", 6 },
		{ "{\"a\" 1}", "line 1: no colon behind a member name", 5 },
		{ "{\"a\": 1} x", "line 1: something behind the value", 9 },
		{ "{\n\"a\": 1,\n\"a\": 2}", "line 3: a member name that its object has twice",
			15 },
		{ "{\"a\": \"\xff\"}", "line 1: bytes that are not UTF-8", 7 },
		{ "\xef\xbb\xbf{\"a\": x}", "line 1: no value where one must be", 9 },
		{ "{\"a\": \"b\nc\"}", "line 1: a control character in a string", 8 },
		{ "// no\n{}", "line 1: no value where one must be", 0 },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		put("f", cases[i].text);
		assert_read("f", FILE_CORRUPT, cases[i].reason, cases[i].offset);
	}
	put("f", deep);
	assert_read("f", FILE_CORRUPT, "line 1: nested too deeply", 32);
	struct file f;
	put("f", "a: \xff");
	file_read("f", true, &f);
	assert_true(f.state == FILE_CORRUPT && f.offset == 3);
	file_done(&f);
}

static void a_byte_order_mark_is_tolerated(void **state)
{
	struct file f;
	put("f", "\xef\xbb\xbf" OLD);
	file_read("f", false, &f);
	assert_true(f.state == FILE_FOUND && f.bom);
	file_done(&f);
	assert_replaces("f", NEW);
	assert_holds("f", "\xef\xbb\xbf" NEW);
}

static void the_limit_is_four_mib(void **state)
{
	size_t len = FILE_MAX;
	char *text = malloc(len + 1);
	memset(text, ' ', len + 1);
	memcpy(text, "{}", 2);
	scratch_write("f", 0600, text, len);
	assert_read("f", FILE_FOUND, "", 0);
	scratch_write("f", 0600, text, len + 1);
	assert_read("f", FILE_UNREADABLE, "larger than 4 MiB", 0);
	free(text);
	assert_return_code(truncate("f", 10 * 1024 * 1024), errno);
	assert_read("f", FILE_UNREADABLE, "larger than 4 MiB", 0);
}

static void what_is_no_file_is_not_opened(void **state)
{
	assert_return_code(mkfifo("fifo", 0600), errno);
	assert_return_code(mkdir("dir", 0700), errno);
	assert_return_code(symlink("fifo", "to-fifo") | symlink("/dev/zero", "zero"), errno);
	assert_read("fifo", FILE_UNREADABLE, "not a regular file", 0);
	assert_read("to-fifo", FILE_UNREADABLE, "not a regular file", 0);
	assert_read("zero", FILE_UNREADABLE, "not a regular file", 0);
	assert_read("dir", FILE_UNREADABLE, "a directory", 0);
}

static void the_owners_rights_decide(void **state)
{
	if (geteuid() != 0)
		skip();
	put("f", "{}");
	assert_return_code(mkdir("closed", 0700), errno);
	put("closed/f", "{}");
	assert_return_code(symlink("f", "link"), errno);
	assert_return_code(seteuid(NOBODY), errno);
	struct file f, in_closed;
	file_read("link", false, &f);
	file_read("closed/f", false, &in_closed);
	assert_return_code(seteuid(0), errno);
	assert_int_equal(f.state, FILE_UNREADABLE);
	assert_string_equal(f.reason, "Permission denied");
	assert_int_equal(f.st.st_mode & 07777, 0600); /* can be told, and helps */
	assert_int_equal(in_closed.state, FILE_UNREADABLE);
	file_done(&f);
	file_done(&in_closed);
}

/* A mount whose server never answers: whoever asks it anything hangs. */
static void read_own_mount(void)
{
	char data[128];
	struct file f;
	int fuse = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (fuse < 0)
		_exit(77);
	put("over", "{}");
	snprintf(data, sizeof(data), "fd=%d,rootmode=100000,user_id=0,group_id=0", fuse);
	if (mount("piauth", "over", "fuse.piauth", MS_NOSUID | MS_NODEV, data) < 0)
		_exit(77);
	MUST(symlink("over", "link") == 0);
	file_read("link", false, &f);
	MUST(f.state == FILE_UNREADABLE);
	MUST(strcmp(f.reason, "it lies on a mount of piauth") == 0);
	MUST(umount2("over", MNT_DETACH) == 0);
}

static void our_own_mount_is_not_asked(void **state)
{
	in_namespace(read_own_mount);
}

/* Somebody who truncates, and writes as soon as that was seen. */
static void write_when_seen(int ready)
{
	char events[4096];
	int fd = open("f", O_WRONLY | O_TRUNC);
	int seen = inotify_init1(IN_CLOEXEC);
	if (inotify_add_watch(seen, "f", IN_CLOSE_NOWRITE) < 0 || write(ready, "x", 1) != 1 ||
		read(seen, events, sizeof(events)) <= 0 ||
		write(fd, OLD, strlen(OLD)) != (ssize_t)strlen(OLD))
		_exit(1);
	close(fd);
	_exit(0);
}

static void a_file_that_is_being_written_is_waited_for(void **state)
{
	struct file f;
	int ready[2], status;
	char byte;
	put("f", "{}");
	assert_return_code(pipe(ready), errno);
	pid_t pid = fork();
	if (pid == 0)
		write_when_seen(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	file_read_settled("f", false, &f);
	assert_int_equal(f.state, FILE_FOUND);
	assert_string_equal(f.text, OLD);
	file_done(&f);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	close(ready[0]);
	close(ready[1]);
}

/* ---- replacing ---- */

static void a_plain_file_is_replaced_by_another(void **state)
{
	struct stat before, after;
	scratch_write("f", 0640, OLD, strlen(OLD));
	assert_return_code(stat("f", &before), errno);
	int reader = open("f", O_RDONLY);
	assert_replaces("f", NEW);
	assert_holds("f", NEW);
	assert_return_code(stat("f", &after), errno);
	assert_int_not_equal(before.st_ino, after.st_ino);
	assert_int_equal(after.st_mode & 07777, 0640);
	char old[256] = { 0 };
	assert_int_equal(read(reader, old, sizeof(old) - 1), strlen(OLD));
	assert_string_equal(old, OLD); /* who had it open reads the old one to its end */
	close(reader);
	assert_no_temp();
}

static void the_layout_stays(void **state)
{
	put("f", "{\"a\":1,\"b\":[1,2]}\n");
	assert_replaces("f", "{\"a\":2,\"z\":{},\"b\":[]}");
	assert_holds("f", "{\"a\":2,\"z\":{},\"b\":[]}\n");
	put("f", "{\n\t\"a\": 1\n}\n");
	assert_replaces("f", "{\"a\":\"}{\\\"\",\"z\":{},\"b\":[1,{\"c\":9007199254740991}]}");
	assert_holds("f", "{\n  \"a\": \"}{\\\"\",\n  \"z\": {},\n  \"b\": [\n    1,\n    {\n"
			  "      \"c\": 9007199254740991\n    }\n  ]\n}\n");
	put("f", "{}");
	assert_replaces("f", SHORT);
	assert_holds("f", SHORT);
}

/* True if it is the same file as before. */
static bool replaced_in_place(const char *path, const char *text)
{
	struct stat before, after;
	assert_return_code(stat(path, &before), errno);
	assert_replaces(path, text);
	assert_holds(path, text);
	assert_return_code(stat(path, &after), errno);
	return before.st_ino == after.st_ino && before.st_mode == after.st_mode;
}

static void a_symbolic_link_stays_one(void **state)
{
	char target[64] = { 0 };
	assert_return_code(mkdir("d", 0700), errno);
	put("d/real", OLD);
	assert_return_code(symlink("real", "d/middle") | symlink("d/middle", "f"), errno);
	assert_true(replaced_in_place("f", NEW));
	assert_true(replaced_in_place("f", SHORT)); /* and cut */
	assert_holds("d/real", SHORT);
	assert_int_equal(readlink("f", target, sizeof(target) - 1), 8);
	assert_string_equal(target, "d/middle");
	assert_int_equal(scratch_count("d", ""), 2);
}

static void a_link_on_the_way_is_no_reason(void **state)
{
	assert_return_code(mkdir("d", 0700), errno);
	assert_return_code(symlink("d", "link"), errno);
	put("d/f", OLD);
	assert_false(replaced_in_place("link/f", NEW));
	assert_int_equal(scratch_count("d", ""), 1);
}

static void a_hard_link_stays_one(void **state)
{
	put("f", OLD);
	assert_return_code(link("f", "other"), errno);
	assert_true(replaced_in_place("f", NEW));
	assert_holds("other", NEW);
}

static void replace_mounted(void)
{
	struct stat before, after;
	put("real", OLD);
	put("f", "{}");
	put("ro", "{}");
	MUST(mount("real", "f", "none", MS_BIND, NULL) == 0);
	MUST(stat("f", &before) == 0);
	MUST(replace("f", NEW, NULL) == 0);
	MUST(stat("f", &after) == 0 && after.st_ino == before.st_ino);
	MUST(stat("real", &after) == 0 && after.st_ino == before.st_ino);
	MUST(after.st_size == (off_t)strlen(NEW));
	MUST(scratch_count(".", ".") == 0);
	MUST(mount("real", "ro", "none", MS_BIND, NULL) == 0);
	MUST(mount("none", "ro", "none", MS_BIND | MS_REMOUNT | MS_RDONLY, NULL) == 0);
	MUST(replace("ro", SHORT, NULL) == -EROFS);
	MUST(stat("real", &after) == 0 && after.st_size == (off_t)strlen(NEW));
}

static void a_mounted_file_stays_mounted(void **state)
{
	in_namespace(replace_mounted);
}

static void replace_on_a_full_disk(void)
{
	struct pa_err err;
	MUST(mkdir("small", 0755) == 0);
	MUST(mount("none", "small", "tmpfs", 0, "size=16k,mode=0755") == 0);
	MUST(chdir("small") == 0);
	put("f", OLD);
	MUST(symlink("f", "link") == 0);
	/* all that is left, and more */
	int fd = open("filler", O_WRONLY | O_CREAT, 0600);
	char block[4096] = { 0 };
	while (write(fd, block, sizeof(block)) == sizeof(block))
		;
	char *text = malloc(9000);
	memset(text, 'x', 8999);
	memcpy(text, "[\"", 2);
	memcpy(text + 8997, "\"]", 3);
	MUST(replace("f", text, &err) == -ENOSPC);
	MUST(replace("link", text, &err) == -ENOSPC);
	free(text);
	MUST(scratch_count(".", "") == 3);
	MUST(replace("link", NEW, &err) == 0); /* its block has room */
	MUST(chdir("..") == 0);
}

static void a_full_disk_leaves_the_old_content(void **state)
{
	in_namespace(replace_on_a_full_disk);
}

static void where_the_directory_forbids_it_is_done_in_place(void **state)
{
	struct stat st;
	if (geteuid() != 0)
		skip();
	assert_return_code(mkdir("d", 0755), errno);
	put("d/mine", OLD);
	put("d/roots", OLD);
	assert_return_code(chown("d/mine", NOBODY, NOBODY) | chmod("d/roots", 0666), errno);
	assert_return_code(seteuid(NOBODY), errno);
	int mine = replace("d/mine", NEW, NULL), roots = replace("d/roots", NEW, NULL);
	assert_return_code(seteuid(0), errno);
	assert_return_code(chmod("d", 0777), errno);
	assert_return_code(seteuid(NOBODY), errno);
	int owner = replace("d/roots", SHORT, NULL);
	assert_return_code(seteuid(0), errno);
	assert_int_equal(mine | roots | owner, 0);
	assert_holds("d/mine", NEW);
	assert_holds("d/roots", SHORT);
	assert_return_code(stat("d/roots", &st), errno);
	assert_true(st.st_uid == 0 && (st.st_mode & 07777) == 0666);
	assert_int_equal(scratch_count("d", ""), 2);
}

static void owner_and_access_list_stay(void **state)
{
	/* version 2; user::rw- user:1234:r-- group::--- mask::r-- other::--- (acl(5), linux/posix_acl_xattr.h) */
	static const unsigned char acl[] = { 2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 4, 0,
		0xd2, 4, 0, 0, 4, 0, 0, 0, 255, 255, 255, 255, 0x10, 0, 4, 0, 255, 255, 255, 255,
		0x20, 0, 0, 0, 255, 255, 255, 255 };
	unsigned char is[sizeof(acl) + 1];
	struct stat before, after;
	put("f", OLD);
	if (geteuid() == 0)
		assert_return_code(chown("f", 0, 4321), errno);
	bool lists = setxattr("f", "system.posix_acl_access", acl, sizeof(acl), 0) == 0;
	assert_return_code(stat("f", &before), errno);
	assert_replaces("f", NEW);
	assert_return_code(stat("f", &after), errno);
	assert_int_not_equal(before.st_ino, after.st_ino);
	assert_true(before.st_uid == after.st_uid && before.st_gid == after.st_gid &&
		    before.st_mode == after.st_mode);
	if (!lists)
		skip();
	assert_int_equal(getxattr("f", "system.posix_acl_access", is, sizeof(is)), sizeof(acl));
	assert_memory_equal(is, acl, sizeof(acl));
}

static void root_does_not_look_at_what_is_anothers(void **state)
{
	struct file f;
	if (geteuid() != 0)
		skip();
	put("f", OLD);
	assert_return_code(chown("f", NOBODY, 0), errno);
	file_read("f", false, &f);
	assert_int_equal(f.state, FILE_UNREADABLE);
	assert_non_null(strstr(f.reason, "--owner"));
	file_done(&f);
}

static void what_changed_since_it_was_read_stays(void **state)
{
	JSON_AUTO cJSON *root = tree(NEW);
	struct pa_err err = { 0 };
	struct file f;
	assert_return_code(symlink("f", "link"), errno);
	put("f", OLD);
	file_read("link", false, &f);
	put("f", "{\"a\": \"somebody else's, in a file of the name\"}");
	assert_int_equal(file_replace("link", &f, root, &err), -ESTALE);
	assert_int_equal(err.code, PA_FILE_UNUSABLE);
	file_done(&f);
	file_read("f", false, &f);
	int fd = open("f", O_WRONLY | O_APPEND);
	assert_int_equal(write(fd, "\n", 1), 1);
	close(fd);
	assert_int_equal(file_replace("f", &f, root, &err), -ESTALE);
	assert_int_equal(file_replace("link", &f, root, &err), -ESTALE);
	unlink("f");
	assert_int_equal(file_replace("f", &f, root, &err), -ESTALE);
	file_done(&f);
	assert_int_equal(scratch_count(".", ""), 1);
}

static void what_cannot_be_read_is_never_written(void **state)
{
	struct stat before, after;
	struct pa_err err = { 0 };
	put("f", "");
	assert_return_code(stat("f", &before), errno);
	assert_int_equal(replace("f", NEW, &err), -EINVAL);
	assert_string_equal(err.detail, "empty");
	put("g", "{\"a\": ");
	assert_int_equal(replace("g", NEW, &err), -EINVAL);
	assert_return_code(stat("f", &after), errno);
	assert_true(before.st_ino == after.st_ino && after.st_size == 0);
	assert_holds("g", "{\"a\": ");
	if (geteuid() != 0)
		skip();
	assert_return_code(mkdir("d", 0777) | chmod("d", 0777), errno);
	scratch_write("d/f", 0400, OLD, strlen(OLD));
	assert_return_code(chown("d/f", NOBODY, NOBODY), errno);
	assert_return_code(seteuid(NOBODY), errno);
	int rc = replace("d/f", NEW, &err);
	assert_return_code(seteuid(0), errno);
	assert_int_equal(rc, -EACCES);
	assert_holds("d/f", OLD);
}

static void an_absent_file_is_made(void **state)
{
	JSON_AUTO cJSON *root = tree(NEW);
	struct pa_err err = { 0 };
	struct stat st;
	struct file f;
	umask(0);
	assert_replaces("f", NEW);
	umask(022);
	assert_holds("f", NEW);
	assert_return_code(stat("f", &st), errno);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_no_temp();
	file_read("g", false, &f);
	put("g", OLD); /* somebody was faster */
	assert_int_equal(file_replace("g", &f, root, &err), -ESTALE);
	assert_holds("g", OLD);
	file_done(&f);
	assert_return_code(symlink("nowhere", "h"), errno);
	assert_int_equal(replace("h", NEW, &err), -EEXIST);
	assert_false(scratch_exists("nowhere"));
	assert_int_equal(replace("no-dir/f", NEW, &err), -ENOENT);
	assert_int_equal(scratch_count(".", "."), 0);
}

static void a_backup_is_for_us_alone_and_never_overwritten(void **state)
{
	struct pa_err err = { 0 };
	struct stat st;
	struct file f;
	scratch_write("f", 0666, OLD, strlen(OLD));
	file_read("f", false, &f);
	assert_int_equal(file_backup("f", &f, &err), 0);
	assert_holds("f.piauth-backup", OLD);
	assert_return_code(stat("f.piauth-backup", &st), errno);
	assert_int_equal(st.st_mode & 07777, 0600);
	put("f.piauth-backup", "precious");
	assert_int_equal(file_backup("f", &f, &err), -EEXIST);
	assert_holds("f.piauth-backup", "precious");
	unlink("f.piauth-backup");
	for (unsigned nth = 1;; nth++) {
		failinject_arm(FAIL_ERRNO, nth, ENOSPC);
		int rc = file_backup("f", &f, &err);
		if (!failinject_disarm()) {
			assert_int_equal(rc, 0);
			break;
		}
		assert_int_equal(rc, -ENOSPC);
		assert_false(scratch_exists("f.piauth-backup"));
	}
	file_done(&f);
}

/* A process that was killed leaves its temp file; the next one removes it when it is old. */
static void what_a_crash_left_is_swept(void **state)
{
	const struct timespec old[2] = { { .tv_sec = 1000000000 }, { .tv_sec = 1000000000 } };
	put("f", OLD);
	put(".f.piauth-abcdef", OLD);
	put(".f.piauth-fresh0", OLD);
	put(".f.piauth-not-ours", OLD);
	assert_return_code(utimensat(AT_FDCWD, ".f.piauth-abcdef", old, 0), errno);
	assert_return_code(utimensat(AT_FDCWD, ".f.piauth-not-ours", old, 0), errno);
	assert_replaces("f", NEW);
	assert_false(scratch_exists(".f.piauth-abcdef"));
	assert_true(scratch_exists(".f.piauth-fresh0"));
	assert_true(scratch_exists(".f.piauth-not-ours"));
}

/* What a process that was killed may leave. */
static void remove_temps(void)
{
	DIR *dir = opendir(".");
	assert_non_null(dir);
	for (struct dirent *e; (e = readdir(dir));) {
		if (strncmp(e->d_name, ".f.piauth-", 10) == 0)
			unlink(e->d_name);
	}
	closedir(dir);
}

struct write {
	const char *path, *text;
};

static int step(void *arg)
{
	const struct write *w = arg;
	return replace(w->path, w->text, NULL);
}

/* Every call that changes the disk fails once in every way: the file is whole, old or new. A process that is
 * killed while it writes in place may tear it, but not so that it can be taken for whole. */
static void fail_each(const char *path, const char *text, bool in_place)
{
	struct write w = { path, text };
	for (size_t i = 0; i < failinject_nways; i++) {
		const struct fail_way *way = &failinject_ways[i];
		bool killed = way->mode == FAIL_TORN || way->mode == FAIL_EXIT;
		bool reached = true;
		for (unsigned nth = 1; reached; nth++) {
			cJSON *t = NULL;
			int rc;
			put("f", OLD);
			reached = failinject_run(way->mode, nth, way->errnum, step, &w, &rc);
			char *is = scratch_read(path, NULL);
			bool whole = strcmp(is, OLD) == 0 || strcmp(is, text) == 0;
			bool torn = !whole && killed && in_place &&
				    json_parse(is, strlen(is), PA_CONFIG, &t, NULL, NULL) < 0;
			if ((!whole && !torn) || (rc == 0 && strcmp(is, text) != 0))
				fail_msg("%s, call %u: %d and %s", way->name, nth, rc, is);
			free(is);
			if (!killed)
				assert_no_temp();
			remove_temps();
		}
	}
}

static void no_failure_leaves_half_a_file(void **state)
{
	fail_each("f", NEW, false);
	fail_each("f", SHORT, false);
}

static void no_failure_leaves_half_a_file_in_place(void **state)
{
	assert_return_code(symlink("f", "link"), errno);
	fail_each("link", NEW, true);
	fail_each("link", SHORT, true);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(a_document_is_read),
		T(absent_is_not_unreadable),
		T(what_is_corrupt_is_named_with_its_offset),
		T(a_byte_order_mark_is_tolerated),
		T(the_limit_is_four_mib),
		T(what_is_no_file_is_not_opened),
		T(the_owners_rights_decide),
		T(our_own_mount_is_not_asked),
		T(a_file_that_is_being_written_is_waited_for),
		T(a_plain_file_is_replaced_by_another),
		T(the_layout_stays),
		T(a_symbolic_link_stays_one),
		T(a_link_on_the_way_is_no_reason),
		T(a_hard_link_stays_one),
		T(a_mounted_file_stays_mounted),
		T(a_full_disk_leaves_the_old_content),
		T(where_the_directory_forbids_it_is_done_in_place),
		T(owner_and_access_list_stay),
		T(root_does_not_look_at_what_is_anothers),
		T(what_changed_since_it_was_read_stays),
		T(what_cannot_be_read_is_never_written),
		T(an_absent_file_is_made),
		T(a_backup_is_for_us_alone_and_never_overwritten),
		T(what_a_crash_left_is_swept),
		T(no_failure_leaves_half_a_file),
		T(no_failure_leaves_half_a_file_in_place),
	};
	return cmocka_run_group_tests_name("import_file", tests, NULL, NULL);
}
