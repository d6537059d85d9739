//! A site for tests: keys, a lock, phones, a running server, a client that trusts its authority.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tapdoor_protocol::crypto::ecies::{SecretScalar, public_compressed};
use tapdoor_protocol::crypto::{cmac128, ecies, sign};
use tapdoor_protocol::door::keys;
use tapdoor_protocol::globalplatform::load_file::LoadFile;
use tapdoor_protocol::ids::{LockId, PhoneId};
use tapdoor_server::ca::Authority;
use tapdoor_server::time::Clock;
use tapdoor_server::{RunningServer, Server, ServerConfig};

pub const SITE: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
pub const SERVER: [u8; 32] = [0x51; 32];
pub const LOCK_KEY: [u8; 32] = [0x61; 32];
pub const LOCK: LockId = LockId([0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18]);
pub const PHONE: PhoneId = PhoneId([1, 2, 3, 4, 5, 6, 7, 8]);
pub const IMEI: &str = "490154203237518";
pub const MAC: &str = "02:00:5e:10:00:01";
pub const TOKEN: &str = "0123456789abcdef0123456789abcdef";
pub const CHIP_KEY: [u8; 16] = [0x42; 16];

pub fn public(private: &[u8; 32]) -> String {
    hex::encode(public_compressed(&SecretScalar(*private)).unwrap())
}

/// Bytes that no test gets twice.
fn fresh() -> [u8; 32] {
    static COUNT: AtomicU64 = AtomicU64::new(1);
    let mut bytes = [0x0A; 32];
    bytes[..8].copy_from_slice(&COUNT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    bytes
}

pub fn now() -> u32 {
    u32::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

/// What a lock and a phone make together. Fields can be bent before it is built.
#[derive(Clone)]
pub struct Ask {
    pub lock: Value,
    pub lock_id: LockId,
    pub lock_key: [u8; 32],
    pub nonce: [u8; 16],
    pub clock: u32,
    pub phone: PhoneId,
    pub kind: u8,
    pub digits: String,
    pub server: [u8; 32],
    pub plain: bool,
}

impl Ask {
    pub fn new() -> Self {
        Self {
            lock: json!({"mac": MAC}),
            lock_id: LOCK,
            lock_key: LOCK_KEY,
            nonce: fresh()[..16].try_into().unwrap(),
            clock: now(),
            phone: PHONE,
            kind: 1,
            digits: IMEI.into(),
            server: SERVER,
            plain: false,
        }
    }

    pub fn identity(&self) -> Vec<u8> {
        let ephemeral = SecretScalar(fresh());
        let public = public_compressed(&ephemeral).unwrap();
        let bound: &[u8] = if self.plain { &[] } else { &public };
        let agent = keys::agent(&SITE, self.phone);
        let mut plain = vec![self.kind, u8::try_from(self.digits.len()).unwrap()];
        plain.extend(self.digits.bytes());
        plain.extend(cmac128(&agent, &[&self.lock_id.0, &self.nonce, bound]));
        if self.plain {
            return [vec![1], plain].concat();
        }
        let server = public_compressed(&SecretScalar(self.server)).unwrap();
        let sealed = ecies::seal(&ephemeral, &server, &plain).unwrap();
        [vec![0], public.to_vec(), sealed].concat()
    }

    pub fn body_with(&self, identity: &[u8]) -> Value {
        let mut signed = vec![1];
        signed.extend(self.lock_id.0);
        signed.extend(self.nonce);
        signed.extend(self.clock.to_be_bytes());
        signed.extend(u16::try_from(identity.len()).unwrap().to_be_bytes());
        signed.extend(identity);
        let signature = sign::sign(&self.lock_key, &signed).unwrap();
        json!({"lock": self.lock, "request": hex::encode(signed), "signature": hex::encode(signature)})
    }

    pub fn body(&self) -> Value {
        self.body_with(&self.identity())
    }
}

pub fn chip_keys_toml() -> String {
    let key = hex::encode(CHIP_KEY);
    format!("chip-kvn = 0x30\nchip-enc = \"{key}\"\nchip-mac = \"{key}\"\nchip-dek = \"{key}\"\n")
}

pub fn load_file(fill: u8, length: usize) -> Vec<u8> {
    let block = vec![fill; length];
    LoadFile {
        signatures: vec![],
        block: &block,
    }
    .encode()
}

/// server.toml of the site: one lock, one phone, a grant, a door application in version 1.0.
pub fn server_toml(folder: &Path, tls: bool) -> String {
    std::fs::write(folder.join("cr.lf"), load_file(0x5A, 16_000)).unwrap();
    let tls = if tls {
        "[tls]\ncertificate = \"server.crt\"\nkey = \"server.key\"\n"
    } else {
        ""
    };
    let plain = if tls.is_empty() { "plain = true\n" } else { "" };
    let (private, lock_key, chip) = (hex::encode(SERVER), public(&LOCK_KEY), chip_keys_toml());
    format!(
        "site-key = \"{}\"\nprivate-key = \"{private}\"\nlisten = \"127.0.0.1:0\"\nadmin-token = \"{TOKEN}\"\n{plain}{tls}\
         [limits]\npoll-ms = 400\ndownload-ms = 3000\nheader-ms = 500\nbody-ms = 500\nsession-ms = 2000\ndownloads-per-minute = 60\n\
         [[systems]]\nname = \"door\"\napplication = \"cr\"\nlock-application = \"cr-lock\"\n\
         [[locks]]\nid = \"{LOCK}\"\npublic-key = \"{lock_key}\"\nmac = \"{MAC}\"\ngroups = [\"front\"]\n{chip}\
         [[phones]]\nid = \"{PHONE}\"\nimei = \"{IMEI}\"\n{chip}\
         [[grants]]\nphone = \"{PHONE}\"\nlock = \"{LOCK}\"\n\
         [[applications]]\nname = \"cr\"\nversion = \"1.0\"\nelf = \"f0544150444f4f52a1\"\nmodule = \"f0544150444f4f52a101\"\n\
         aid = \"f0544150444f4f5201\"\nload-file = \"cr.lf\"\n\
         [[applications]]\nname = \"cr-lock\"\nversion = \"1.0\"\nhalf = \"lock\"\nelf = \"f0544150444f4f52a1\"\nmodule = \"f0544150444f4f52a102\"\n\
         aid = \"f0544150444f4f5281\"\npeer = \"f0544150444f4f5201\"\nload-file = \"cr.lf\"\n",
        hex::encode(SITE)
    )
}

pub struct Site {
    pub folder: tempfile::TempDir,
    pub client: reqwest::Client,
    pub server: Option<RunningServer>,
    pub url: String,
    pub clock: Clock,
    toml: String,
}

pub fn client(authority_pem: &str) -> reqwest::Client {
    // Several tests do it; the first one wins.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let root = reqwest::Certificate::from_pem(authority_pem.as_bytes()).unwrap();
    reqwest::Client::builder().tls_certs_only([root]).build().unwrap()
}

impl Site {
    pub async fn start() -> Self {
        Self::start_with(|toml| toml).await
    }

    /// Over TLS, with server.toml changed.
    pub async fn start_with(change: impl FnOnce(String) -> String) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new().unwrap();
        let issued = authority.server(&["localhost".into(), "127.0.0.1".into()]).unwrap();
        std::fs::write(folder.path().join("server.crt"), &issued.certificate_pem).unwrap();
        std::fs::write(folder.path().join("server.key"), issued.key_pem.as_bytes()).unwrap();
        let mut site = Self {
            client: client(&authority.certificate_pem),
            toml: change(server_toml(folder.path(), true)),
            folder,
            server: None,
            url: String::new(),
            clock: Clock::system(),
        };
        site.restart().await;
        site
    }

    pub fn config(&self) -> ServerConfig {
        ServerConfig::parse(&self.folder.path().join("server.toml"), &self.toml).unwrap()
    }

    /// Stops the server, if it runs, and starts it on the same store.
    pub async fn restart(&mut self) {
        self.stop().await;
        let server = Server::start_with(self.config(), self.clock.clone()).await.unwrap();
        self.url = server.url();
        self.server = Some(server);
    }

    pub async fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop();
            server.join().await;
        }
    }

    pub async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let request = self.client.post(format!("{}{path}", self.url)).bearer_auth(TOKEN).json(body);
        answer(request).await
    }

    pub async fn get(&self, path: &str) -> (u16, Value) {
        answer(self.client.get(format!("{}{path}", self.url)).bearer_auth(TOKEN)).await
    }

    /// A download's events, to the end of the stream.
    pub async fn download(&self, ask: &Ask) -> (u16, Vec<Value>) {
        let response = self
            .client
            .post(format!("{}/v1/downloads", self.url))
            .json(&ask.body())
            .send()
            .await
            .unwrap();
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        (status, text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
    }

    /// Waits until a job is in a final state; says its history if it takes too long.
    pub async fn job_end(&self, id: i64) -> Value {
        for _ in 0..200 {
            let (_, job) = self.get(&format!("/v1/jobs/{id}")).await;
            if job["state"] == "done" || job["state"] == "failed" {
                return job;
            }
            tokio::time::sleep(std::time::Duration::from_millis(25)).await;
        }
        panic!("job {id} does not end: {}", self.get(&format!("/v1/jobs/{id}")).await.1);
    }
}

pub async fn answer(request: reqwest::RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

pub fn event<'a>(events: &'a [Value], name: &str) -> Option<&'a Value> {
    events.iter().find(|event| event["event"] == name)
}
