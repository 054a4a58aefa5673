#include "prompt.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "store/secret.h"

static const int caught[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGALRM, SIGTSTP, SIGTTIN,
	SIGTTOU };
#define CAUGHT (sizeof(caught) / sizeof(caught[0]))

static volatile sig_atomic_t came; /* the signal that ended the wait, 0 for none */

static void on_signal(int signo)
{
	came = signo;
}

static bool is_stop(int signo)
{
	return signo == SIGTSTP || signo == SIGTTIN || signo == SIGTTOU;
}

enum typed { TYPED_MORE, TYPED_END, TYPED_HANGUP, TYPED_FULL, TYPED_SIGNAL };

/* One byte at a time: the line discipline is off, because it would cut a line at 4095 bytes. */
static enum typed read_typed(int fd, bool many, size_t max, char *buf, size_t *len)
{
	char c;
	ssize_t n = read(fd, &c, 1);
	if (came)
		return TYPED_SIGNAL;
	if (n < 0 && errno == EINTR)
		return TYPED_MORE;
	if (n <= 0)
		return TYPED_HANGUP;
	switch (c) {
	case 0x04: /* Ctrl-D */
		return TYPED_END;
	case 0x15: /* Ctrl-U */
		secret_wipe(buf, *len);
		*len = 0;
		return TYPED_MORE;
	case 0x08:
	case 0x7f:
		if (*len)
			buf[--*len] = '\0';
		return TYPED_MORE;
	case '\r':
	case '\n':
		if (!many)
			return TYPED_END;
		c = '\n';
		break;
	}
	if (*len == max)
		return TYPED_FULL;
	buf[(*len)++] = c;
	secret_wipe(&c, sizeof(c));
	return TYPED_MORE;
}

static enum typed ask(int fd, const char *question, bool many, size_t max, char *buf, size_t *len)
{
	struct termios was;
	if (tcgetattr(fd, &was) < 0)
		return TYPED_HANGUP;
	struct termios quiet = was;
	quiet.c_lflag &= ~(tcflag_t)(ECHO | ECHONL | ICANON | IEXTEN);
	quiet.c_lflag |= ISIG;
	quiet.c_cc[VMIN] = 1;
	quiet.c_cc[VTIME] = 0;

	struct sigaction on = { .sa_handler = on_signal }; /* no SA_RESTART: read must return */
	struct sigaction old[CAUGHT];
	came = 0;
	sigemptyset(&on.sa_mask);
	for (size_t i = 0; i < CAUGHT; i++)
		sigaction(caught[i], &on, &old[i]);

	enum typed r = TYPED_HANGUP;
	/* TCSAFLUSH drops what was typed before the question, as passwd does. */
	if (tcsetattr(fd, TCSAFLUSH, &quiet) == 0) {
		dprintf(STDERR_FILENO, "%s", question);
		do
			r = came ? TYPED_SIGNAL : read_typed(fd, many, max, buf, len);
		while (r == TYPED_MORE);
		/* From the background the terminal cannot be changed, and need not be: the shell did. */
		while (tcsetattr(fd, TCSAFLUSH, &was) < 0 && errno == EINTR && !is_stop(came))
			;
		dprintf(STDERR_FILENO, "\n");
	} else if (came) {
		r = TYPED_SIGNAL;
	}
	for (size_t i = 0; i < CAUGHT; i++)
		sigaction(caught[i], &old[i], NULL);
	return r;
}

int prompt_secret(int fd, const char *question, bool many, size_t max, char **ret, size_t *ret_len,
	struct pa_err *err)
{
	WIPE_AUTO char *buf = wipe_malloc(max + 1);
	size_t len = 0;
	if (!buf)
		return pa_fail(err, PA_NO_MEMORY, 0, "%zu bytes", max);

	enum typed r;
	for (;;) {
		r = ask(fd, question, many, max, buf, &len);
		if (r != TYPED_SIGNAL)
			break;
		/* The terminal is as it was: now the signal does what it does. After a stop that was
		 * continued the question is asked again. */
		secret_wipe(buf, len);
		len = 0;
		int signo = came;
		raise(signo);
		if (!is_stop(signo))
			return pa_fail(err, PA_INTERRUPTED, 0, "signal %d", signo);
	}
	switch (r) {
	case TYPED_FULL:
		return pa_fail(err, PA_TOO_BIG, 0, "more than %zu bytes", max);
	case TYPED_HANGUP:
		return pa_fail(err, PA_BAD_INPUT, 0, "the terminal went away");
	case TYPED_MORE:
	case TYPED_SIGNAL:
	case TYPED_END:
		break;
	}
	if (!len)
		return pa_fail(err, PA_BAD_INPUT, 0, "nothing was entered");
	buf[len] = '\0';
	*ret = buf;
	*ret_len = len;
	buf = NULL;
	return 0;
}
