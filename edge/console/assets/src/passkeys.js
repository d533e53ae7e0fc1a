// Passkeys: asks the browser to make or to show one when its form is sent, and sends the form with
// the answer. The forms stay hidden where the browser has no passkeys.
const BEGIN = "/api/v1/accounts/sign_in/passkey/begin";

async function optionsOf(form) {
  if (form.dataset.options) return JSON.parse(form.dataset.options);
  const challenge = form.elements.challenge?.value;
  const response = await fetch(BEGIN, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(challenge ? { challenge } : {}),
  });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.detail);
  return answer.options;
}

async function credentialOf(form) {
  const options = await optionsOf(form);
  if (form.dataset.passkey === "create") {
    const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(options);
    return navigator.credentials.create({ publicKey });
  }
  const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(options);
  return navigator.credentials.get({ publicKey });
}

async function send(form) {
  const problem = form.querySelector("[role=alert]");
  problem.hidden = true;
  try {
    const credential = await credentialOf(form);
    form.elements.credential.value = JSON.stringify(credential.toJSON());
    form.submit();
  } catch (error) {
    const words = { NotAllowedError: "No passkey was shown.", InvalidStateError: "It is there already." };
    problem.textContent = words[error.name] ?? error.message;
    problem.hidden = false;
  }
}

if (window.PublicKeyCredential?.parseRequestOptionsFromJSON && !window.finnestPasskeys) {
  window.finnestPasskeys = true;
  for (const form of document.querySelectorAll("form[data-passkey]")) {
    form.hidden = false;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      send(form);
    });
  }
}
