/* Any bytes as a JWT: an object comes out, or nothing. */
#include "store/oauth/token.h"

#include "fuzz_main.h"

static void fuzz_set_up(void)
{
	json_init();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	JSON_AUTO cJSON *payload = token_jwt_payload((const char *)data, size);

	fuzz_check(!payload || cJSON_IsObject(payload));
	fuzz_check(!payload || size <= TOKEN_MAX);
	return 0;
}
