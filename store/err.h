/*
 * err - what went wrong, why, where, and what to do about it.
 *
 * One struct pa_err on the caller's stack carries a code (what), an errno (why) and a short detail.
 * One table gives every code its wire string (stable, scripts compare it), the errno that a file
 * operation fails with, a summary and a remedy. The leaf of the program: includes nothing of ours.
 *
 * detail may hold a profile, a file name, an HTTP status or an OAuth error token, never a secret,
 * a response body, a query string or a header. Threads: no state, any thread.
 */
#ifndef PIAUTH_ERR_H
#define PIAUTH_ERR_H

#include <errno.h>
#include <stddef.h>

#define PA_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))

/*
 * X(name, wire string, errno, summary, remedy). Never change or re-use a wire string. The first 13
 * are the diagnostic codes of the tools piauth takes over from; the rest are ours.
 */
#define PA_ERRORS(X)                                                                              \
	X(NO_KEY, "auth.missing_api_key", ENOKEY, "No credential is stored for this provider.",   \
		"Store a key (echo KEY > PROVIDER/api-key) or store a login (piauth set "         \
		"--oauth).")                                                                      \
	X(BAD_KEY, "auth.invalid_api_key", EKEYREJECTED, "The provider rejected the credential.", \
		"Replace the key and check that it belongs to this provider and may do this.")    \
	X(QUOTA, "auth.quota_exceeded", EDQUOT, "The quota or billing limit is reached.",         \
		"Check quota and billing of the account at the provider, then try again.")        \
	X(NO_CODE, "auth.oauth.missing_authorization_code", EINVAL,                               \
		"The authorization code is missing.",                                             \
		"Log in again and paste the whole callback URL or code.")                         \
	X(EXCHANGE, "auth.oauth.token_exchange_failed", EKEYREJECTED,                             \
		"The provider refused to issue a token for this login.",                          \
		"Log in again; check client id and token endpoint in the configuration.")         \
	X(REFRESH_DEAD, "auth.oauth.token_refresh_failed", EKEYREVOKED,                           \
		"The refresh token is no longer accepted.", "Log in again.")                      \
	X(NO_DEPLOYMENT, "config.azure.missing_deployment", ENODATA,                              \
		"Resource and deployment are not configured.",                                    \
		"Configure resource and deployment.")                                             \
	X(NO_REGION, "config.auth.missing_region", ENODATA, "The region is not configured.",      \
		"Configure the region.")                                                          \
	X(NO_PROJECT, "config.auth.missing_project", ENODATA, "The project is not configured.",   \
		"Configure the project or workspace id.")                                         \
	X(NO_PROFILE, "config.auth.missing_profile", ENOENT, "There is no such profile.",         \
		"List the profiles with ls, or store a credential under this name.")              \
	X(NO_ENDPOINT, "config.auth.missing_endpoint", EDESTADDRREQ,                              \
		"The endpoint is not configured.", "Write the address to base-url.")              \
	X(NO_CHAIN, "auth.credential_chain.missing", ENOKEY,                                      \
		"No source of the credential chain holds a credential.",                          \
		"Configure one source: environment, profile or role.")                            \
	X(UNKNOWN, "auth.unknown_failure", EIO, "The provider failed in an unknown way.",         \
		"Read last_error in status, then try again with explicit credentials.")           \
	X(EXPIRED, "auth.oauth.expired", EKEYEXPIRED,                                             \
		"The token has expired and cannot be refreshed now.",                             \
		"Read last_error in status; log in again if it does not pass.")                   \
	X(RATE, "net.rate_limited", EBUSY, "The provider limits the rate of requests.",           \
		"Wait; piauth tries again by itself.")                                            \
	X(NET_TIMEOUT, "net.timeout", ETIMEDOUT, "The provider did not answer in time.",          \
		"Check the network; piauth tries again by itself.")                               \
	X(NET_UNREACHABLE, "net.unreachable", EHOSTUNREACH, "The provider cannot be reached.",    \
		"Check network, DNS and proxy; piauth tries again by itself.")                    \
	X(NET_TLS, "net.tls", EPROTO, "No trusted TLS connection to the provider.",               \
		"Check the clock, the CA certificates and any TLS-inspecting proxy.")             \
	X(NET_ANSWER, "net.bad_answer", EBADMSG, "The provider's answer makes no sense.",         \
		"Check the token endpoint in the configuration, then try again.")                 \
	X(NET_SERVER, "net.server_error", EREMOTEIO, "The provider has an internal error.",       \
		"Wait; piauth tries again by itself.")                                            \
	X(STORE_LOCKED, "store.locked", ENOKEY, "The store cannot be unlocked.",                  \
		"Provide the key it was sealed with: --key-file or the systemd credential.")      \
	X(STORE_CORRUPT, "store.corrupt", EBADMSG, "A file of the store is damaged.",             \
		"Run piauth store check; restore the file from a backup or log in again.")        \
	X(STORE_FULL, "store.full", ENOSPC, "There is no space left for the store.",              \
		"Free space on the store's file system.")                                         \
	X(STORE_IO, "store.io", EIO, "The store could not be read or written.",                   \
		"Check the disk and the permissions of the store directory.")                     \
	X(STORE_BUSY, "store.busy", EBUSY, "Another process serves this store.",                  \
		"Use the mount that is there, or stop it first (piauth umount).")                 \
	X(STORE_UNSAFE, "store.unsafe", EACCES, "Others could read or change the store.",         \
		"Make directory and files yours alone (chmod 0700 / 0600, no symbolic links).")   \
	X(STORE_MOVED, "store.other_machine", EKEYEXPIRED,                                        \
		"This login belongs to a store on another machine.",                              \
		"Stop using it there, then run piauth store adopt; or log in again.")             \
	X(DENIED, "fs.denied", EACCES, "The caller may not do this.",                             \
		"Act as the owner, outside containers; see docs/NAMESPACE.md.")                   \
	X(BAD_INPUT, "fs.bad_input", EINVAL, "The written value is not usable.",                  \
		"Write one line of printable text.")                                              \
	X(TOO_BIG, "fs.too_big", EFBIG, "The written value is too long.",                         \
		"A key is at most 16 KiB.")                                                       \
	X(NO_PROVIDER, "fs.unknown_provider", ENOENT, "There is no such provider.",               \
		"List the known ones with piauth providers, or make one with mkdir.")             \
	X(NOT_READY, "fs.not_ready", EAGAIN,                                                      \
		"No valid value is at hand, and this file never waits.",                          \
		"Read key first, or read again later.")                                           \
	X(BUSY, "fs.busy", EBUSY, "Not while a credential is stored.",                            \
		"Log out first (rm PROVIDER/key).")                                               \
	X(INTERRUPTED, "fs.interrupted", EINTR, "The caller was interrupted.", "Try again.")      \
	X(UNSUPPORTED, "fs.unsupported", EOPNOTSUPP, "This is not supported here.",               \
		"See docs/NAMESPACE.md for what each file takes.")                                \
	X(CONFIG, "config.invalid", EINVAL, "The configuration is not valid.",                    \
		"Correct the line the message names.")                                            \
	X(FILE_LOCKED, "file.locked", EBUSY,                                                      \
		"Another program holds the lock of its credential file.",                         \
		"Wait; if that program is gone, run piauth doctor.")                              \
	X(FILE_UNUSABLE, "file.unusable", EIO,                                                    \
		"A credential file of another program cannot be used.",                           \
		"Run piauth doctor; it names the file and the reason.")                           \
	X(FILE_SILENT, "file.no_answer", ETIMEDOUT,                                               \
		"The directory of another program's credential file does not answer.",            \
		"Check the file system it lies on (NFS, FUSE); piauth doctor names it.")          \
	X(NO_MEMORY, "sys.no_memory", ENOMEM, "Out of memory.", "Free memory, then try again.")   \
	X(SYSTEM, "sys.error", EIO, "The system refused an operation.", "See the detail.")

enum pa_code {
	PA_NONE = 0,
#define X(name, wire, errnum, summary, remedy) PA_##name,
	PA_ERRORS(X)
#undef X
};

struct pa_err {
	enum pa_code code;
	int errnum;       /* positive errno */
	int http_status;  /* 0 where no answer came */
	char where[32];   /* the function that failed */
	char detail[160]; /* one line, no secret; may be empty */
};

/* How many codes there are, PA_NONE included. */
extern const size_t pa_code_count;

const char *pa_wire(enum pa_code code);    /* "auth.missing_api_key"; "" for PA_NONE */
const char *pa_summary(enum pa_code code); /* a sentence */
const char *pa_remedy(enum pa_code code);  /* a sentence */
int pa_errno(enum pa_code code);           /* the code's default errno; 0 for PA_NONE */

/*
 * Fills err (which may be NULL) and returns -errnum; errnum 0 means the code's default. The only way
 * to make an error. The detail is cut at its limit; control bytes in it become '?'.
 */
int pa_fail_at(struct pa_err *err, const char *where, enum pa_code code, int errnum,
	const char *fmt, ...) PA_PRINTF(5, 6);
#define pa_fail(err, code, errnum, ...) pa_fail_at(err, __func__, code, errnum, __VA_ARGS__)

/* A sentence for people: summary, detail, remedy. Cut at size; always terminated. */
void pa_err_format(const struct pa_err *err, char *buf, size_t size);

#endif
