/* A file of providers.d, merged into the table. */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "store/provider.h"
#include "store/secret.h"

#include "fuzz_main.h"

#define NAME "acme.json"

static char dir[] = "/tmp/fuzz_providers_d.XXXXXX";
static int providers_d = -1;

static void remove_dir(void)
{
	unlinkat(providers_d, NAME, 0);
	rmdir(dir);
}

static void fuzz_set_up(void)
{
	json_init();
	fuzz_check(mkdtemp(dir));
	atexit(remove_dir);
	providers_d = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	fuzz_check(providers_d >= 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct provider_table *table = NULL;
	struct pa_err err = { 0 };
	int fd = openat(providers_d, NAME, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	fuzz_check(fd >= 0 && write(fd, data, size) == (ssize_t)size);
	close(fd);
	if (provider_table_new(providers_d, NULL, NULL, 0, &table, &err) < 0) {
		fuzz_check(err.code != PA_NONE && strstr(err.detail, NAME));
		return 0;
	}
	const struct provider *p = provider_find(table, "acme", 4);
	fuzz_check(p && strcmp(p->id, "acme") == 0);
	fuzz_check(!p->endpoint || endpoint_is_allowed(p->endpoint));
	fuzz_check(!p->oauth || !p->oauth->token_endpoint ||
		   endpoint_is_allowed(p->oauth->token_endpoint));
	WIPE_AUTO char *text = provider_table_json(table);
	fuzz_check(text && !strstr(text, "\"client_secret\""));
	provider_table_free(table);
	return 0;
}
