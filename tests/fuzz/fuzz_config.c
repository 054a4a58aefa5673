/* A configuration file, and the provider table that its overrides make. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/config.h"
#include "store/provider.h"
#include "store/secret.h"

#include "fuzz_main.h"

static int fd;
static char path[64];

static void fuzz_set_up(void)
{
	json_init();
	fd = memfd_create("config.json", MFD_CLOEXEC);
	fuzz_check(fd >= 0 && fchmod(fd, 0600) == 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
}

static void check_table(const struct config *c)
{
	struct provider_table *table = NULL;
	struct pa_err err = { 0 };

	if (provider_table_new(-1, c->providers, c->text, c->text_len, &table, &err) < 0) {
		fuzz_check(err.code == PA_CONFIG && *err.detail);
		return;
	}
	for (size_t i = 0; i < provider_count(table); i++) {
		const struct provider *p = provider_at(table, i);
		fuzz_check(provider_id_is_valid(p->id, strlen(p->id)));
		fuzz_check(provider_find(table, p->id, strlen(p->id)) == p);
		fuzz_check(!p->endpoint || endpoint_is_allowed(p->endpoint));
		fuzz_check(!p->oauth || !p->oauth->token_endpoint ||
			   endpoint_is_allowed(p->oauth->token_endpoint));
	}
	WIPE_AUTO char *text = provider_table_json(table);
	fuzz_check(text && !strstr(text, "\"client_secret\""));
	provider_table_free(table);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct config *c = NULL;
	struct pa_err err = { 0 };
	JSON_AUTO cJSON *value = NULL;

	fuzz_check(ftruncate(fd, 0) == 0);
	fuzz_check(pwrite(fd, data, size, 0) == (ssize_t)size);
	int lax = json_parse_lax((const char *)data, size, PA_CONFIG, &value, NULL);
	if (config_read(AT_FDCWD, path, &c, &err) < 0) {
		fuzz_check(!c && err.code == PA_CONFIG && *err.detail);
		return 0;
	}
	fuzz_check(lax == 0 && c->deadline_s > 0 && c->watchdog_s > 0);
	if (c->providers)
		check_table(c);
	config_free(c);
	return 0;
}
