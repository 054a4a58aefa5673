/*
 * message - what the server and the process that touches other tools' files say to each other.
 *
 * A SOCK_SEQPACKET pair; each packet is one JSON object of at most MESSAGE_MAX bytes. The process is
 * started for one piece of work, runs as the owner, knows no key of the store, and ends when its end of
 * the pair says so; locks that it holds then are given back. Packets sent before the end are still
 * obeyed, so a rotated pair reaches its file though the server died meanwhile. Members "tool", "path" and
 * "name" say which entry of which file (import.h); "entry" is in pi's auth.json format, "expires" whole.
 *
 * Requests, each answered before the next is sent:
 *   {"op":"scan","from":PATH?,"skip":[PATH...],"examine":BOOL?}
 *      looks at every file it knows of (or at PATH, a file or directory), except those in skip.
 *      -> any number of
 *        {"m":"looking","tool","path"}       before a file is touched: what hangs is the last one named (the
 *                                            home directory itself, and PATH with tool "", among them)
 *        {"m":"file","tool","path","state":"found|absent|unreadable|corrupt","reason"?,"offset"?,
 *           "mode":"0600"?,"owner":UID?}     offset: bytes, of what is corrupt
 *        {"m":"entry","tool","path","name","provider","profile"?,"lane":"oauth|api_key","entry":{...},
 *           "linkable":BOOL}                 profile: the part after "@"; provider as the tool spells it
 *        {"m":"entry","tool","path","name","provider"?,"refused":REASON}
 *        {"m":"lock","tool","path","state":"free|held|stale|file|not_empty","lock"?,"age_s"?}
 *                                            only with examine; lock: the path of the lock directory
 *      -> {"m":"end"}
 *   {"op":"open","files":[{"tool","path","names":[NAME...]}],"lock":BOOL,"wait_ms":N}
 *      opens a transaction: with lock, takes the tools' locks (in the order of their paths, waiting N ms at
 *      most for all) and keeps them fresh until close.
 *      -> for each file {"m":"file","tool","path","state", "reason"?,"lock":"held|none|busy|unavailable"}
 *         (none: not asked for or the tool has none; unavailable: cannot be taken here, e.g. read-only)
 *         and for each name {"m":"entry","tool","path","name","lane"?,"entry"?,"refused"?}   refused: it is there,
 *         but cannot be used, or the file cannot be read; neither of both: it is not in the file
 *      -> {"m":"opened"}                     after "busy" no lock is held
 *   {"op":"put","tool","path","name","entry":{...},"expect":REFRESH,"lane"}
 *      in a transaction: writes the credential into the file if its refresh token (api_key: the key) still is
 *      expect ("": if there is none); members of the file that it does not know stay. With "expires" as
 *      the tool shall see it.
 *      -> {"m":"put","tool","path","name","result":"written|overtaken|failed","reason"?}
 *   {"op":"drop","tool","path","name","expect":REFRESH_OR_KEY,"backup":BOOL,"lane"}
 *      removes the credential under the same condition; the rest of the file stays. The backup is made once
 *      in a transaction, and never over one that is there ("failed").
 *      -> {"m":"put",...} as above
 *   {"op":"watch","files":[{"tool","path"}]}
 *      -> {"m":"watching","watches":[{"wd":N,"path":PATH,"file":NAME}...]} and the inotify descriptor as
 *         SCM_RIGHTS. PATH is the path of the request; NAME the file's name in the watched directory. A
 *         file behind symbolic links has a row for each directory on the way. Where a directory is missing, NAME
 *         is what is missing in the nearest one above it: when that comes, the request has to be made anew.
 * Any request can be answered with {"m":"error","reason":TEXT}. Reasons are one line and hold no secret.
 */
#ifndef PIAUTH_IMPORT_MESSAGE_H
#define PIAUTH_IMPORT_MESSAGE_H

#include "../err.h"
#include "../json.h"

#define MESSAGE_MAX (160 * 1024) /* below the default SO_SNDBUF of a unix socket */

/* Sends one packet, with a descriptor when fd >= 0 (which stays the caller's). Blocks if the socket does;
 * a non-blocking one that is full, or a peer that is gone, is -EPIPE or -EAGAIN (code SYSTEM). */
int message_send(int socket, const cJSON *message, int fd, struct pa_err *err);

/*
 * Receives one packet: 1 with *ret (the caller's) and *ret_fd (-1: none came; close-on-exec), 0 at the end of
 * the conversation, -EAGAIN when a non-blocking socket has none, or another -errno. What is not a JSON object
 * or longer than MESSAGE_MAX is -EBADMSG; its descriptors are closed.
 */
int message_receive(int socket, cJSON **ret, int *ret_fd, struct pa_err *err);

#endif
