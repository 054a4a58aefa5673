#include "log.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#include "store/redact.h"
#include "store/secret.h"

static atomic_bool use_syslog;

void log_to_syslog(void)
{
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	openlog("piauth", LOG_PID, LOG_DAEMON);
	atomic_store(&use_syslog, true);
	for (int i = 0; fd >= 0 && i <= STDERR_FILENO; i++)
		dup2(fd, i);
	if (fd > STDERR_FILENO)
		close(fd);
}

void log_vline(enum log_level level, const char *fmt, va_list args)
{
	static const int priority[] = {
		[LOG_LEVEL_ERROR] = LOG_ERR,
		[LOG_LEVEL_WARNING] = LOG_WARNING,
		[LOG_LEVEL_INFO] = LOG_INFO,
	};
	char line[LOG_LINE];

	vsnprintf(line, sizeof(line), fmt, args);
	line[strcspn(line, "\n")] = '\0';
	WIPE_AUTO char *safe = redact_text(line, strlen(line));
	const char *text = safe ? safe : "a message that could not be redacted (out of memory)";
	if (atomic_load(&use_syslog))
		syslog(priority[level], "%s", text);
	else
		dprintf(STDERR_FILENO, "piauth: %s\n", text);
	secret_wipe(line, sizeof(line));
}

void log_line(enum log_level level, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	log_vline(level, fmt, args);
	va_end(args);
}

void log_err(enum log_level level, const char *subject, const struct pa_err *err)
{
	char text[LOG_LINE - 128];

	pa_err_format(err, text, sizeof(text));
	log_line(level, "%s%s%s", subject ? subject : "", subject ? ": " : "", text);
}
