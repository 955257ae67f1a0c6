// Asks the browser for a passkey, and sends what it answers with the form of the page (Web Authentication Level 3).
// What there is to say stands in the page.
"use strict";

(() => {
  const form = document.getElementById("passkey");
  const options = JSON.parse(form.dataset.options);
  let asking = false;

  const bytes = (text) => {
    const plain = atob(text.replace(/-/g, "+").replace(/_/g, "/"));
    return Uint8Array.from(plain, (character) => character.charCodeAt(0)).buffer;
  };
  const text = (buffer) => {
    if (!buffer) return "";
    const plain = Array.from(new Uint8Array(buffer), (byte) => String.fromCharCode(byte)).join("");
    return btoa(plain).replace(/\+/g, "-").replace(/\//g, "_").replace(/=/g, "");
  };
  const named = (credentials) => (credentials || []).map((one) => ({ ...one, id: bytes(one.id) }));

  const make = async () => {
    const made = await navigator.credentials.create({
      publicKey: {
        ...options,
        challenge: bytes(options.challenge),
        user: { ...options.user, id: bytes(options.user.id) },
        excludeCredentials: named(options.excludeCredentials),
      },
    });
    return {
      id: text(made.rawId),
      clientDataJSON: text(made.response.clientDataJSON),
      attestationObject: text(made.response.attestationObject),
    };
  };
  const use = async () => {
    const used = await navigator.credentials.get({
      publicKey: {
        ...options,
        challenge: bytes(options.challenge),
        allowCredentials: named(options.allowCredentials),
      },
    });
    return {
      id: text(used.rawId),
      clientDataJSON: text(used.response.clientDataJSON),
      authenticatorData: text(used.response.authenticatorData),
      signature: text(used.response.signature),
      userHandle: text(used.response.userHandle),
    };
  };
  const say = (which) => {
    for (const one of document.querySelectorAll("[data-say]")) one.hidden = one.dataset.say !== which;
  };

  const ask = async () => {
    if (asking) return;
    if (!window.PublicKeyCredential) return say("unknown");
    asking = true;
    say("");
    try {
      const answer = await (form.dataset.ceremony === "create" ? make() : use());
      form.elements.answer.value = JSON.stringify(answer);
      form.submit();
    } catch (refused) {
      say(refused.name === "InvalidStateError" ? "known" : "refused");
    } finally {
      asking = false;
    }
  };

  form.addEventListener("submit", (event) => {
    if (event.submitter && event.submitter.value === "cancel") return;
    event.preventDefault();
    ask();
  });
  if ("once" in form.dataset) ask();
})();
