/*
 * ops - the operations the kernel asks for. Reading is in ops_read.c, storing in ops_input.c, changing in
 * ops_write.c.
 *
 * Decode, policy, broker, answer; nothing waits in here. What the broker cannot answer at once is parked
 * (ops_read.c) or kept until its disk job is done (ops_input.c, ops_write.c). Threads: one.
 */
#ifndef PIAUTH_OPS_H
#define PIAUTH_OPS_H

#include "request.h"

extern const struct fuse_lowlevel_ops ops_table;

/* Ends a parked request: its thread is about to end, or the server is. */
void ops_give_up(struct parked *k);
/* Frees what is open: inputs are flushed, so the broker must still be there. */
void ops_close_all(struct server *s);

/* ops_read.c */
void ops_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void ops_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void ops_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);

/* ops_write.c */
void ops_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
	struct fuse_file_info *fi);
void ops_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,
	struct fuse_file_info *fi);
void ops_setattr(
	fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set, struct fuse_file_info *fi);
void ops_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);
void ops_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode);
void ops_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);
void ops_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev);
void ops_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name);
void ops_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t newparent,
	const char *newname, unsigned int flags);
void ops_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t newparent, const char *newname);

/* Ends a parked write; the command itself goes on. For ops_give_up. */
void command_give_up(struct parked *k);

/* ops_input.c */
void ops_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
/*
 * Once, in a server that takes over from one that died, before it serves: files that were open for storing a
 * credential are open again, under the numbers that the kernel has for them.
 */
int ops_restore(struct server *s, struct pa_err *err);
/* The writing side of an open file. Later servers know of it before the kernel does. */
int input_open(struct request *r, struct handle *h, struct pa_err *err);
void input_write(struct handle *h, fuse_req_t req, const char *bytes, size_t len);
void input_reset(struct handle *h);
/* The kernel has the file no more. A NULL input is fine, here and below. */
void input_close(struct handle *h);
/* Flushes and frees, perhaps later. By itself, where this server ends and the file stays open. */
void input_release(struct handle *h);

#endif
