"""What every answer of the platform must keep to, beside what schemathesis knows by itself."""

import uuid

import requests
import schemathesis

EXAMPLE_KEY = "8e03978e-40d5-43dd-bc93-6894a57f9324"
known_addresses = set()
known_doors = set()


@schemathesis.hook
def before_call(ctx, case, kwargs):
    """Every request is one of its own: the example's key, sent again, would only be refused."""
    for name in case.headers or {}:
        if name.lower() == "idempotency-key" and case.headers[name] == EXAMPLE_KEY:
            case.headers[name] = str(uuid.uuid4())


@schemathesis.check
def what_the_document_allows_is_not_malformed(ctx, response, case):
    """A schema that allows what the handler calls malformed describes too little."""
    meta = case.meta
    if meta is None or not meta.generation.mode.is_positive or response.status_code != 422:
        return
    problem = response.json()
    # What the arguments of a job must be depends on the job, which no schema can tell.
    errors = [error for error in problem["errors"] if not error["pointer"].startswith("/args")]
    if problem["code"] == "malformed_input" and errors:
        raise AssertionError(f"the schema allows it, the handler refuses it: {errors}")


@schemathesis.check
def every_error_is_a_problem_that_can_be_looked_up(ctx, response, case):
    """`type` leads somewhere, `code` is its name, `instance` is the request."""
    if response.status_code < 400:
        return
    problem = response.json()
    code = problem["code"]
    assert response.headers["content-type"][0] == "application/problem+json", response.headers
    assert problem["type"] == f"/problems/{code}", problem
    assert problem["status"] == response.status_code, problem
    request_id = response.headers["x-request-id"][0]
    assert problem["instance"] == f"urn:uuid:{request_id}", problem
    if code not in known_addresses:
        base_url = case.operation.base_url
        page = requests.get(f"{base_url}{problem['type']}", timeout=20)
        assert page.status_code == 200, f"nothing is known of the code {code}"
        known_addresses.add(code)


@schemathesis.check
def nobody_comes_in_without_a_token(ctx, response, case):
    """What was answered to a token is answered neither to none nor to one made up."""
    label = case.operation.label
    is_open = case.operation.definition.raw.get("security") == []
    if is_open or response.status_code >= 300 or label in known_doors:
        return
    known_doors.add(label)
    asked = response.request
    for token in [None, "made-up"]:
        headers = {key.lower(): value for key, value in asked.headers.items()}
        headers.pop("authorization", None)
        if token is not None:
            headers["authorization"] = f"Bearer {token}"
        again = requests.request(
            asked.method, asked.url, headers=headers, data=asked.body, timeout=20
        )
        refusals = [401] if token is None else [401, 429]
        assert again.status_code in refusals, f"{again.status_code} for the token {token}"
