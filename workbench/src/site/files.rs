//! lock.toml, phone.toml and server.toml as text.

use std::fmt::Write;

use tapdoor_chip::ListEntry;
use tapdoor_chip::personalise::{ScpKeys, Secret};
use tapdoor_protocol::door::keys;
use tapdoor_protocol::ids::{LockId, PhoneId};

use super::applications::{self, PROVIDER};
use super::{LISTEN, Site, imei, public};

/// What stands in a lock.toml.
pub struct LockFile<'a> {
    /// Which lock.
    pub id: LockId,
    /// Its chip's memory, from the file's folder.
    pub store: &'a str,
    /// P-256, by which it signs requests.
    pub signing: &'a [u8; 32],
    /// Whether it tries test USIMs.
    pub usim: bool,
    /// Whether it is an Aliro reader.
    pub aliro: bool,
    /// By which the server knows it: mac, iccid, imsi or msisdn, and the value.
    pub identifier: (&'a str, &'a str),
    /// By which its agent proves itself.
    pub agent: &'a [u8; 16],
    /// Its chip's key set.
    pub chip: &'a ScpKeys,
    /// Public keys of providers, hexadecimal.
    pub providers: &'a [String],
    /// The server.
    pub url: &'a str,
    /// The certificate of its authority, from the file's folder.
    pub ca: &'a str,
}

impl LockFile<'_> {
    /// The text, without any phone.
    #[must_use]
    pub fn text(&self) -> String {
        let (kind, value) = self.identifier;
        format!(
            "# The lock. Try: tapdoor lock --config lock.toml --reader sim: --once\n\
             id = \"{}\"\n\
             # Its chip's memory, from this file's folder.\n\
             store = \"{}\"\n\
             # Tried in this order{}.\n\
             methods = [\"challenge-response\", \"aka\"{}{}]\n\
             # The chip's own P-256 key, by which it signs requests to the server.\n\
             signing-key = \"{}\"\n\n\
             [aka]\n\
             # milenage or tuak\n\
             algorithm = \"milenage\"\n\n\
             [policy]\n\
             # Time caps against relays. A cold phone is slow, so they only warn: `lock --calibrate N` proposes better ones.\n\
             answer-cap-ms = 1000\n\
             tap-cap-ms = 3000\n\
             over-cap = \"warn\"\n\n\
             [door]\n\
             # log = \"door.log\"\n\
             # run = [\"sh\", \"-c\", \"echo $TAPDOOR_VERDICT $TAPDOOR_PHONE\"]\n\n\
             [server]\n\
             # Asked when a phone has no application. Nothing is asked while applications are there.\n\
             url = \"{}\"\n\
             ca = {}\n\
             # By which the server knows this lock: one of mac, iccid, imsi, msisdn.\n\
             identifier = {{ {kind} = \"{value}\" }}\n\
             k-agent = \"{}\"\n\
             # When the lock fetches its own application and list: on-request, always, or from-to as 02:00-04:00 (UTC).\n\
             # updates = \"always\"\n\
             {}",
            self.id,
            self.store,
            if self.usim { "; usim is for a laboratory only" } else { "" },
            if self.aliro { ", \"aliro\"" } else { "" },
            if self.usim { ", \"usim\"" } else { "" },
            hex::encode(self.signing),
            self.url,
            quoted(self.ca),
            hex::encode(self.agent),
            chip(self.chip, self.providers),
        )
    }
}

/// What stands in a phone.toml.
pub struct PhoneFile<'a> {
    /// Which phone.
    pub id: PhoneId,
    /// Its chip's memory, from the file's folder.
    pub store: &'a str,
    /// Whether it is an Aliro user device.
    pub aliro: bool,
    /// K_ph, for a phone whose applications are there from the start; without it the first tap downloads.
    pub k_ph: Option<&'a [u8; 16]>,
    /// By which it names itself to the server: imei, iccid, imsi or msisdn, and the digits.
    pub identity: (&'a str, &'a str),
    /// By which it proves itself to the server.
    pub agent: &'a [u8; 16],
    /// The server's public key for identities, hexadecimal.
    pub server_key: &'a str,
    /// Its chip's key set.
    pub chip: &'a ScpKeys,
    /// Public keys of providers, hexadecimal.
    pub providers: &'a [String],
    /// The server.
    pub url: &'a str,
    /// The certificate of its authority, from the file's folder.
    pub ca: &'a str,
}

impl PhoneFile<'_> {
    /// The text.
    #[must_use]
    pub fn text(&self) -> String {
        let (kind, digits) = self.identity;
        let (k_ph, applications) = match self.k_ph {
            Some(k_ph) if self.aliro => (
                format!("k-ph = \"{}\"\n", hex::encode(k_ph)),
                "[\"challenge-response\", \"aka\", \"identity\", \"aliro\"]",
            ),
            Some(k_ph) => (
                format!("k-ph = \"{}\"\n", hex::encode(k_ph)),
                "[\"challenge-response\", \"aka\", \"identity\"]",
            ),
            None => (
                "# Only its identity is there: the first tap downloads the application, with its keys.\n".to_owned(),
                "[\"identity\"]",
            ),
        };
        format!(
            "# A phone. Try: tapdoor phone --config phone.toml --serve vpcd:127.0.0.1:35963\n\
             id = \"{}\"\n\
             # Its chip's memory, from this file's folder.\n\
             store = \"{}\"\n\
             {k_ph}\
             # What the phone tells the lock: its user was authenticated.\n\
             user-authenticated = true\n\
             applications = {applications}\n\n\
             [identity]\n\
             kind = \"{kind}\"\n\
             digits = \"{digits}\"\n\
             k-agent = \"{}\"\n\
             # The server's public key, to which the identity is enciphered.\n\
             server-key = \"{}\"\n\n\
             [server]\n\
             # Where applications come from. Without `url` the phone's agent runs with `phone --server URL` only.\n\
             # url = \"{}\"\n\
             ca = {}\n\
             {}",
            self.id,
            self.store,
            hex::encode(self.agent),
            self.server_key,
            self.url,
            quoted(self.ca),
            chip(self.chip, self.providers),
        )
    }
}

/// A TOML string: paths may hold quotes and backslashes. JSON's escapes are TOML's, too.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// `[chip]` of lock.toml and phone.toml.
fn chip(keys: &ScpKeys, providers: &[String]) -> String {
    let providers: Vec<String> = providers.iter().map(|key| format!("\"{key}\"")).collect();
    format!(
        "\n[chip]\n\
         # Its SCP03 key set, by which the server administers it.\n\
         kvn = {}\nenc = \"{}\"\nmac = \"{}\"\ndek = \"{}\"\n\
         # Only applications signed under one of these P-256 keys are taken.\n\
         providers = [{}]\n",
        keys.kvn,
        hex::encode(keys.enc.expose()),
        hex::encode(keys.mac.expose()),
        hex::encode(keys.dek.expose()),
        providers.join(", "),
    )
}

/// The same in server.toml, as fields of a lock or a phone.
pub(crate) fn chip_fields(keys: &ScpKeys) -> String {
    format!(
        "chip-kvn = {}\nchip-enc = \"{}\"\nchip-mac = \"{}\"\nchip-dek = \"{}\"\n",
        keys.kvn,
        hex::encode(keys.enc.expose()),
        hex::encode(keys.mac.expose()),
        hex::encode(keys.dek.expose()),
    )
}

/// A `[[phones]]` of lock.toml.
fn entry_table(entry: &ListEntry) -> String {
    format!(
        "\n[[phones]]\nid = \"{}\"\nweakest = \"challenge-response\"\n# not-after = \"2030-01-01T00:00:00Z\"\n\
         k-id = \"{}\"\nk-l = \"{}\"\nmilenage = \"{}\"\ntuak = \"{}\"\n",
        entry.phone,
        hex::encode(entry.k_id.expose()),
        hex::encode(entry.k_l.expose()),
        hex::encode(entry.milenage.as_ref().map_or(&[][..], Secret::expose)),
        hex::encode(entry.tuak.as_ref().map_or(&[][..], Secret::expose)),
    )
}

impl Site {
    fn url() -> String {
        format!("https://{LISTEN}")
    }

    /// lock.toml.
    #[must_use]
    pub fn lock_toml(&self) -> String {
        let file = LockFile {
            id: self.lock,
            store: "lock.chip",
            signing: &self.signing,
            usim: self.usim.is_some(),
            aliro: true,
            identifier: ("mac", &self.mac.whole()),
            agent: &self.lock_agent(),
            chip: &self.lock_keys,
            providers: &[public(&self.provider)],
            url: &Self::url(),
            ca: tapdoor_server::ca::CA_CERTIFICATE,
        };
        let mut out = file.text();
        for &phone in &self.phones {
            out.push_str(&entry_table(&self.entry(phone)));
        }
        out.push_str(&self.aliro_lock_toml());
        if let Some(usim) = &self.usim {
            let _ = write!(
                out,
                "\n# Test USIMs (AKA profile U). Every lock shares their K: never use it for a real door.\n\
                 [[usim.subscribers]]\nid = \"{}\"\nimsi = \"{}\"\nalgorithm = \"milenage\"\nk = \"{}\"\nopc = \"{}\"\n",
                usim.id,
                usim.imsi,
                hex::encode(usim.k),
                hex::encode(usim.opc)
            );
        }
        out
    }

    /// phone.toml of one of the phones. A bare one has no application but its identity.
    #[must_use]
    pub fn phone_toml(&self, index: usize, store: &str, bare: bool) -> Option<String> {
        let (phone, chip) = (*self.phones.get(index)?, self.phone_keys.get(index)?);
        let k_ph = keys::phone(&self.key, phone);
        let file = PhoneFile {
            id: phone,
            store,
            aliro: !bare,
            k_ph: (!bare).then_some(&*k_ph),
            identity: ("imei", &imei(phone)),
            agent: &keys::agent(&self.key, phone),
            server_key: &public(&self.server),
            chip,
            providers: &[public(&self.provider)],
            url: &Self::url(),
            ca: tapdoor_server::ca::CA_CERTIFICATE,
        };
        let mut out = file.text();
        if let (0, Some(usim)) = (index, &self.usim) {
            let _ = write!(
                out,
                "\n# A test USIM (AKA profile U), for a laboratory only.\n\
                 [usim]\niccid = \"{}\"\nimsi = \"{}\"\nalgorithm = \"milenage\"\nk = \"{}\"\nopc = \"{}\"\n",
                usim.iccid,
                usim.imsi,
                hex::encode(usim.k),
                hex::encode(usim.opc)
            );
        }
        if let (false, Some(aliro)) = (bare, self.aliro_phone_toml(phone)) {
            out.push_str(&aliro);
        }
        out.push_str("\n[laboratory]\n# How the phone misbehaves: see `tapdoor phone --help`.\nswitches = []\n");
        Some(out)
    }

    /// server.toml: what the application management server starts from. `admin_token` opens its administration API.
    #[must_use]
    pub fn server_toml(&self, admin_token: &str) -> String {
        let mut out = format!(
            "# The application management server. Try: tapdoor server --config server.toml\n\
             # The site's secrets, from which all keys of locks and phones derive (docs/protocol.md section 1).\n\
             # No lock and no phone holds these. Keep this file apart from both.\n\
             site-key = \"{}\"\n\
             private-key = \"{}\"\n\
             # What it knows, from this file's folder; keys of chips are enciphered in it.\n\
             store = \"server.db\"\n\
             store-key = \"{}\"\n\
             listen = \"{LISTEN}\"\n\
             # Opens the administration API: Authorization: Bearer ...\n\
             admin-token = \"{admin_token}\"\n\n\
             [tls]\n\
             certificate = \"{}\"\n\
             key = \"{}\"\n\n\
             # What follows is brought into the store at the start, as far as it is not there: what was changed since stays changed.\n\
             # Phones get the application of the system to which the requesting lock belongs.\n\
             [[systems]]\nname = \"door\"\napplication = \"challenge-response\"\nlock-application = \"challenge-response-lock\"\n\n\
             [[systems]]\nname = \"locker\"\napplication = \"aka\"\nlock-application = \"aka-lock\"\n\n\
             # Its private key, provider.key, signs load files.\n\
             [[providers]]\nname = \"{PROVIDER}\"\nkey = \"{}\"\n",
            hex::encode(self.key.as_slice()),
            hex::encode(self.server),
            hex::encode(self.store_key.expose()),
            tapdoor_server::ca::SERVER_CERTIFICATE,
            tapdoor_server::ca::SERVER_KEY,
            public(&self.provider),
        );
        out.push_str(&applications::tables());
        let _ = write!(
            out,
            "\n[[locks]]\nid = \"{}\"\npublic-key = \"{}\"\nmac = \"{}\"\nsystem = \"door\"\n# window = \"02:00-04:00\"\n{}",
            self.lock,
            public(&self.signing),
            self.mac.whole(),
            chip_fields(&self.lock_keys),
        );
        for (&phone, chip) in self.phones.iter().zip(&self.phone_keys) {
            let _ = write!(
                out,
                "\n[[phones]]\nid = \"{phone}\"\nimei = \"{}\"\nuser-authenticated = true\n{}",
                imei(phone),
                chip_fields(chip),
            );
        }
        for &phone in &self.phones {
            let _ = write!(out, "\n[[grants]]\nphone = \"{phone}\"\nlock = \"{}\"\n", self.lock);
        }
        out
    }

    /// The load files of the applications in server.toml: name in the folder, content.
    #[must_use]
    pub fn load_files(&self) -> Vec<(String, Vec<u8>)> {
        applications::load_files(&self.provider)
    }

    /// provider.key: the private key that signs load files, 64 hexadecimal digits.
    #[must_use]
    pub fn provider_key(&self) -> String {
        format!("{}\n", hex::encode(self.provider))
    }
}
