/*
 * aihub. What was built keeps its logins in pi's format, through pi's own AuthStorage and so under its lock, in
 * auth.json; the first design had credentials/oauth.json and agent/auth-profiles.json (ported from OpenClaw).
 */
#include "import.h"

#include <stdlib.h>

static const struct import_format profiles = {
	.read = import_auth_profiles_read,
	.write = import_auth_profiles_write,
	.linkable = true,
	.lock = IMPORT_LOCK_PROPER,
};

static int places(const char *home, struct import_places *ret, struct pa_err *err)
{
	char *dir = import_dir("AIHUB_HOME", home, ".aihub");
	int rc;

	if (!dir) /* relative to where aihub is started */
		return 0;
	if ((rc = import_place_add(ret, &import_pi_auth, err, "%s/auth.json", dir)) == 0 &&
		(rc = import_place_add(
			 ret, &import_pi_oauth, err, "%s/credentials/oauth.json", dir)) == 0)
		rc = import_place_add(ret, &profiles, err, "%s/agent/auth-profiles.json", dir);
	free(dir);
	return rc;
}

static const struct import_name names[] = {
	{ "auth.json", &import_pi_auth },
	{ "oauth.json", &import_pi_oauth },
	{ "auth-profiles.json", &profiles },
	{ NULL, NULL },
};

const struct importer import_aihub = {
	.tool = "aihub",
	.title = "aihub",
	.places = places,
	.names = names,
	.hint = "put {\"providers\":{\"PROVIDER\":{\"apiKey\":\"!cat MOUNT/PROVIDER/key\"}}} into "
		"models.json "
		"in its directory (~/.aihub/models.json), and no auth.mode into aihub.json",
};
