/*
 * Task Factory. ~/.taskfactory/agent/auth.json is pi's, through pi's own AuthStorage; it knows no variable that
 * moves it (server/src/taskfactory-home.ts). The data directory before that, ~/.pi/factory, is a place to
 * migrate from and never written to.
 */
#include "import.h"

static int places(const char *home, struct import_places *ret, struct pa_err *err)
{
	int rc;

	if ((rc = import_place_add(
		     ret, &import_pi_auth, err, "%s/.taskfactory/agent/auth.json", home)) == 0 &&
		(rc = import_place_add(
			 ret, &import_pi_source, err, "%s/.pi/factory/agent/auth.json", home)) == 0)
		rc = import_place_add(
			ret, &import_pi_source, err, "%s/.pi/factory/auth.json", home);
	return rc;
}

static const struct import_name names[] = {
	{ "auth.json", &import_pi_auth },
	{ NULL, NULL },
};

/* Its ModelRegistry is made with pi's own directory, whatever its auth.json is. */
const struct importer import_taskfactory = {
	.tool = "taskfactory",
	.title = "Task Factory",
	.places = places,
	.names = names,
	.hint = "put {\"providers\":{\"PROVIDER\":{\"apiKey\":\"!cat MOUNT/PROVIDER/key\"}}} into "
		"~/.pi/agent/models.json, which it reads too",
};
