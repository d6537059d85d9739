//! `tapdoor server` and its administration as separate processes, with and without a server that runs.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/house.rs"]
mod house;
#[path = "support/proc.rs"]
mod proc;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::house::{House, LONG};
use crate::proc::{Proc, run};

const IMEI: &str = "490154203237518";
const MAC: &str = "02:00:5e:10:00:01";

/// Starts the server on a free port; where it is.
fn server(house: &House) -> (Proc, String) {
    let config = house.arg("server.toml");
    let mut server = Proc::tapdoor(&["server", "--config", &config, "--listen", "127.0.0.1:0"], &[]);
    let ready = server.wait_event("ready", LONG);
    assert!(ready["listen"].as_str().unwrap().starts_with("127.0.0.1:"), "{ready}");
    let url = ready["url"].as_str().unwrap().to_owned();
    (server, url)
}

/// An administration command.
#[track_caller]
fn admin(house: &House, arguments: &[&str]) -> (i32, Vec<Value>, String) {
    let config = house.arg("server.toml");
    let mut all = vec!["server", "--config", config.as_str()];
    all.extend(arguments);
    let (code, events, stderr) = run(&all, &[], LONG);
    assert!(!stderr.contains("panicked"), "{stderr}");
    (code, events, stderr)
}

/// One that is done; its first event.
#[track_caller]
fn done(house: &House, arguments: &[&str]) -> Value {
    let (code, events, stderr) = admin(house, arguments);
    assert_eq!(code, 0, "{arguments:?}: {events:?} {stderr}");
    events[0].clone()
}

/// One that is refused with this status, and says this.
#[track_caller]
fn refused(house: &House, arguments: &[&str], status: i32, says: &str) {
    let (code, events, stderr) = admin(house, arguments);
    assert_eq!(code, status, "{arguments:?}: {events:?} {stderr}");
    assert!(stderr.contains(says), "{arguments:?}: {stderr}");
}

/// Asks for the status until it `fits`.
#[track_caller]
fn wait_status(house: &House, fits: impl Fn(&Value) -> bool) -> Value {
    let end = Instant::now() + LONG;
    loop {
        let status = done(house, &["status"]);
        if fits(&status) {
            return status;
        }
        let jobs = admin(house, &["jobs"]).1;
        assert!(Instant::now() < end, "{status} {jobs:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn phone_id(house: &House) -> String {
    house.value("phone.toml", "id")
}

#[test]
fn a_bare_phone_of_a_new_site_gets_its_application() {
    let house = House::with(&["--bare-phone"]);
    assert!(!house.text("phone.toml").contains("k-ph = "));
    for (file, mode) in [
        ("ca.key", 0o600),
        ("server.key", 0o600),
        ("provider.key", 0o600),
        ("admin.token", 0o600),
        ("ca.crt", 0o644),
    ] {
        let found = fs::metadata(house.path(file)).unwrap().permissions().mode() & 0o777;
        assert_eq!(found & mode, found, "{file}: {found:o}");
    }
    let (mut server, url) = server(&house);
    let mut phone = house.phone("tcp-listen:127.0.0.1:0", &["--server", &url]);
    let status = wait_status(&house, |s| s["connected"]["phones"] == 1);
    assert_eq!(
        (&status["running"], &status["phones"], &status["locks"]),
        (&true.into(), &1.into(), &1.into())
    );
    let id = phone_id(&house);
    done(&house, &["push", "challenge-response", "--to", &format!("phone:{id}")]);
    let connected = phone.wait_event("agent", LONG);
    assert_eq!(connected["state"], "connected", "{connected}");
    let ran = phone.wait_for("a script", LONG, |e| e["event"] == "agent" && e["state"] == "ran");
    assert_eq!(ran["status"], "ok");
    wait_status(&house, |s| s["jobs"]["done"] == 1);
    // Nothing that was said shows a key or an identity.
    let (_, events, stderr) = admin(&house, &["status", "--all"]);
    house.assert_no_secrets("status", &format!("{events:?}{stderr}"));
    let (_, events, stderr) = admin(&house, &["jobs"]);
    house.assert_no_secrets("jobs", &format!("{events:?}{stderr}"));
    server.signal("INT");
    assert_eq!(server.wait_exit(LONG).code(), Some(130));
    house.assert_no_secrets("server", &server.said());
    assert!(!house.path("server.db.address").exists());
    phone.wait_for("the loss", LONG, |e| e["event"] == "agent" && e["state"] == "lost");
    phone.signal("TERM");
    assert_eq!(phone.wait_exit(LONG).code(), Some(130));
    house.assert_no_secrets("phone", &phone.said());
}

/// Registers, grants and takes back; the same whether a server runs or not.
fn administer(house: &House, n: u32, running: bool) {
    let lock_toml = house.arg(&format!("extra-lock-{n}.toml"));
    let mac = format!("02:00:5e:10:01:{n:02x}");
    let msisdn = format!("+4917012345{n:02}");
    let lock = done(
        house,
        &[
            "add-lock", "--mac", &mac, "--system", "locker", "--group", "cellar", "--out", &lock_toml,
        ],
    );
    assert_eq!(
        (lock["event"].as_str(), lock["path"].as_str()),
        (Some("lock-added"), Some(&*lock_toml))
    );
    assert!(!lock.to_string().contains(&mac), "{lock}");
    let phone = done(house, &["add-phone", "--msisdn", &msisdn]);
    let path = phone["path"].as_str().unwrap().to_owned();
    assert!(path.contains("phone-"), "{phone}");
    let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    let id = lock["lock"].as_str().unwrap();
    let who = format!("msisdn:{msisdn}");
    let granted = done(house, &["grant", &who, &format!("mac:{mac}"), "--until", "2099-01-01T00:00:00Z"]);
    assert_eq!(granted["jobs"].as_array().unwrap().len(), 1, "{granted}");
    done(house, &["grant", &who, "--group", "cellar"]);
    let grants = |house: &House| {
        let (_, events, _) = admin(house, &["status", "--all"]);
        assert_eq!(events[0]["running"], running);
        let good = |e: &&Value| e["event"] == "grant" && e["good"] == true && (e["lock"] == id || e["group"] == "cellar");
        events.iter().filter(good).count()
    };
    let before = grants(house);
    done(house, &["revoke", &msisdn, id]);
    assert_eq!(grants(house), before - 1);
    refused(house, &["revoke", &msisdn, id], 1, "no-grant");
    done(house, &["revoke", &who, "--all"]);
    done(house, &["push", "--list", "--to", &format!("lock:mac:{mac}")]);
    done(house, &["push", "aka-lock", "--to", "system:locker", "--window"]);
    let job = done(house, &["jobs", "--lock", id, "--limit", "1"]);
    assert_eq!(job["state"], "queued");
    let one = done(house, &["jobs", &job["id"].to_string()]);
    assert!(one["history"].as_array().is_some_and(|h| !h.is_empty()), "{one}");
    assert_eq!(done(house, &["revoke-lock", id])["revoked"], true);
    assert_eq!(done(house, &["revoke-phone", &who])["revoked"], true);
}

#[test]
fn administration_with_a_server_that_runs_and_without_one() {
    let house = House::new();
    administer(&house, 1, false);
    let (mut server, url) = server(&house);
    assert_eq!(
        done(&house, &["status"])["url"].as_str().map(|u| u.trim_end_matches('/')),
        Some(&*url)
    );
    administer(&house, 2, true);
    // A second server does not get the store.
    let config = house.arg("server.toml");
    let (code, _, stderr) = run(&["server", "--config", &config, "--listen", "127.0.0.1:0"], &[], LONG);
    assert!(code == 2 && stderr.contains("runs already"), "{code} {stderr}");
    // Killed, it leaves its address behind; nobody believes it.
    server.kill();
    assert!(house.path("server.db.address").exists());
    administer(&house, 3, false);
    assert!(!house.path("server.db.address").exists());
    let (mut again, _) = self::server(&house);
    let status = done(&house, &["status"]);
    // One of each from `init`, and three that were taken out of service again.
    assert_eq!(
        (&status["running"], &status["phones"], &status["locks"]),
        (&true.into(), &1.into(), &1.into()),
        "{status}"
    );
    again.signal("TERM");
    assert_eq!(again.wait_exit(LONG).code(), Some(130));
}

#[test]
fn a_server_that_is_killed_loses_nothing_and_the_phone_comes_back() {
    let house = House::with(&["--bare-phone"]);
    let (mut first, url) = server(&house);
    let port = url.rsplit(':').next().unwrap().to_owned();
    let mut phone = house.phone("tcp-listen:127.0.0.1:0", &["--server", &url]);
    wait_status(&house, |s| s["connected"]["phones"] == 1);
    first.kill();
    phone.wait_for("the loss", LONG, |e| e["event"] == "agent" && e["state"] == "lost");
    // Ordered while no server runs.
    let id = phone_id(&house);
    done(&house, &["push", "challenge-response", "--to", &format!("phone:{id}")]);
    let config = house.arg("server.toml");
    let listen = format!("127.0.0.1:{port}");
    let mut second = Proc::tapdoor(&["server", "--config", &config, "--listen", &listen], &[]);
    second.wait_event("ready", LONG);
    phone.wait_for("agent", LONG, |e| e["event"] == "agent" && e["state"] == "connected");
    phone.wait_for("a script", LONG, |e| e["event"] == "agent" && e["state"] == "ran");
    wait_status(&house, |s| s["jobs"]["done"] == 1);
}

#[test]
fn what_is_refused() {
    let house = House::new();
    let here = house.value("server.toml", "imei");
    let files = || {
        let mut names: Vec<_> = fs::read_dir(house.path("")).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.retain(|name| !name.to_string_lossy().starts_with("server.db"));
        names.sort();
        names
    };
    let before = files();
    for stage in ["stopped", "running"] {
        let _running = (stage == "running").then(|| server(&house));
        // Input that cannot be understood.
        refused(&house, &["add-phone", "--imei", "490154203237519"], 4, "imei");
        refused(&house, &["add-phone", "--imei", "49015420323751"], 4, "imei");
        refused(&house, &["add-phone", "--imsi", "00101x"], 4, "imsi");
        refused(&house, &["add-lock", "--mac", "02:00:5e:10:00"], 4, "mac");
        refused(&house, &["add-lock", "--mac", MAC, "--id", "12"], 4, "16 hexadecimal digits");
        refused(&house, &["add-lock", "--mac", MAC, "--public-key", "0011"], 4, "public_key");
        refused(&house, &["add-lock", "--mac", MAC, "--window", "25:00-26:00"], 4, "window");
        refused(&house, &["grant", "what?", "ever/../x"], 4, "malformed-identifier");
        refused(&house, &["grant", &here, "mac:nothing"], 4, "mac");
        refused(&house, &["revoke-lock", "../../healthz?x#y"], 4, "malformed-identifier");
        let lock = house.value("lock.toml", "id");
        refused(&house, &["grant", &here, &lock, "--until", "tomorrow"], 4, "until");
        let garbage = house.arg("lock.toml");
        let app = ["--elf", "F000000001", "--module", "F000000002", "--aid", "F000000003"];
        let all = [&["add-app", "x", "1.0", garbage.as_str()], &app[..]].concat();
        refused(&house, &all, 4, "bad-load-file");
        let unsigned = [&["add-app", "x", "1.0", garbage.as_str(), "--sign", garbage.as_str()], &app[..]].concat();
        refused(&house, &unsigned, 4, "private key");
        // What is not there, or is there already.
        refused(&house, &["add-phone", "--imei", &here], 1, "conflict");
        refused(&house, &["grant", &format!("imei:{IMEI}"), &lock], 1, "unknown-phone");
        refused(&house, &["grant", &here, &format!("mac:{MAC}")], 1, "unknown-lock");
        refused(&house, &["revoke-lock", "0011223344556677"], 1, "unknown-lock");
        refused(&house, &["push", "solitaire", "--to", "system:door"], 1, "no-application");
        refused(&house, &["push", "aka", "--to", &format!("lock:{lock}")], 1, "wrong-half");
        refused(&house, &["jobs", "999"], 1, "no such job");
        // Usage.
        refused(&house, &["add-phone"], 2, "--imei");
        refused(&house, &["grant", &here], 2, "LOCK");
        refused(&house, &["push", "aka", "--to", "everybody"], 2, "--to");
        refused(&house, &["add-phone", "--imei", IMEI, "--out", &garbage], 2, "not overwritten");
        refused(&house, &["--listen", "127.0.0.1:0", "status"], 2, "--listen");
        refused(&house, &["init", &house.arg("")], 2, "not overwritten");
    }
    assert_eq!(files(), before, "what was refused left a file");
    // The configuration.
    let text = house.text("server.toml");
    for (from, to, says) in [
        ("site-key = \"", "site-key = \"00", "16 bytes"),
        ("listen = \"127.0.0.1:8443\"", "listen = \"everywhere\"", "field `listen`"),
        ("certificate = \"server.crt\"", "certificate = \"nowhere.crt\"", "nowhere.crt"),
        ("load-file = \"apps/", "load-file = \"nowhere/", "nowhere"),
    ] {
        house.edit("server.toml", from, to);
        let config = house.arg("server.toml");
        let (code, _, stderr) = run(&["server", "--config", &config, "--listen", "127.0.0.1:0"], &[], LONG);
        assert!(code == 2 && stderr.contains(says), "{to}: {code} {stderr}");
        house.assert_no_secrets(to, &stderr);
        fs::write(house.path("server.toml"), &text).unwrap();
    }
    // A store that is something else.
    for file in ["server.db", "server.db-wal", "server.db-shm"] {
        let _ = fs::remove_file(house.path(file));
    }
    fs::write(
        house.path("server.db"),
        "not a database, whatever its name says; it is longer than a header",
    )
    .unwrap();
    refused(&house, &["status"], 4, "server.db");
    refused(&house, &["add-lock", "--mac", MAC], 4, "server.db");
    assert_eq!(files(), before);
}

#[test]
fn plain_http_is_for_loopback_and_an_authority_can_be_made_alone() {
    let house = House::new();
    let plain = house.variant(
        "server.toml",
        "plain.toml",
        &[
            ("[tls]\ncertificate = \"server.crt\"\nkey = \"server.key\"\n", ""),
            ("listen = ", "plain = true\nlisten = "),
        ],
    );
    let (code, _, stderr) = run(&["server", "--config", &plain, "--listen", "0.0.0.0:0"], &[], LONG);
    assert!(code == 2 && stderr.contains("loopback"), "{code} {stderr}");
    let mut server = Proc::tapdoor(&["server", "--config", &plain, "--listen", "127.0.0.1:0"], &[]);
    assert_eq!(server.wait_event("ready", LONG)["tls"], false);
    let (code, events, stderr) = run(&["server", "--config", &plain, "status"], &[], LONG);
    assert!(code == 0 && events[0]["running"] == true, "{stderr}");
    let folder = house.arg("other");
    let (code, events, stderr) = run(&["server", "init", &folder, "--name", "door.example"], &[], LONG);
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(events[0]["files"].as_array().unwrap().len(), 5);
    let (code, _, stderr) = run(&["server", "init", &folder], &[], LONG);
    assert!(code == 2 && stderr.contains("not overwritten"), "{stderr}");
    // A phone that is given the wrong authority does not talk to the server, and goes on.
    let (_tls, url) = self::server(&House::new());
    let mut phone = house.phone("tcp-listen:127.0.0.1:0", &["--server", &url]);
    let lost = phone.wait_event("agent", LONG);
    assert_eq!(lost["state"], "lost", "{lost}");
    for (server, says) in [
        ("http://192.0.2.1", "https"),
        ("nonsense", "https://"),
        ("ftp://127.0.0.1", "https://"),
    ] {
        let config = house.arg("phone.toml");
        let serve = [
            "phone",
            "--config",
            &config,
            "--serve",
            "tcp-listen:127.0.0.1:0",
            "--server",
            server,
        ];
        let (code, _, stderr) = run(&serve, &[], LONG);
        assert!(code == 2 && stderr.contains(says), "{server}: {code} {stderr}");
    }
}

/// A lock and a phone of `house`, each of the file with this name, tap at a server; the lock's report.
fn tap_at(house: &House, lock: &str, phone: &str, url: &str) -> Value {
    let (mut lock, listen) = house.listening_lock_of(lock, &["--once", "--server", url]);
    let _phone = house.phone_of(phone, &listen, &["--server", url]);
    lock.wait_event("tap", LONG)
}

#[test]
fn each_name_of_a_lock_with_each_name_of_a_phone() {
    let house = House::with(&["--bare-phone"]);
    let (mac, imei) = (house.value("server.toml", "mac"), house.value("server.toml", "imei"));
    let locks = [
        ("mac", mac.as_str()),
        ("iccid", "8949010123456789013"),
        ("imsi", "001010123456789"),
        ("msisdn", "+491701234567"),
    ];
    let phones = [
        ("imei", imei.as_str()),
        ("iccid", "8949010198765432109"),
        ("imsi", "001010987654321"),
        ("msisdn", "+491707654321"),
    ];
    for (known, names) in [(("mac", &mac), &locks), (("imei", &imei), &phones)] {
        let line = format!("\n{} = \"{}\"\n", known.0, known.1);
        let all: String = names.iter().map(|(kind, value)| format!("\n{kind} = \"{value}\"")).collect();
        house.edit("server.toml", &line, &format!("{all}\n"));
    }
    let (_server, url) = server(&house);
    let named_by_mac = format!("identifier = {{ mac = \"{mac}\" }}");
    let named_by_imei = format!("kind = \"imei\"\ndigits = \"{imei}\"");
    for (lock_kind, lock_name) in locks {
        let by = format!("identifier = {{ {lock_kind} = \"{lock_name}\" }}");
        let lock = format!("lock-{lock_kind}.toml");
        house.variant("lock.toml", &lock, &[(&named_by_mac, &by)]);
        for (phone_kind, phone_name) in phones {
            let digits = phone_name.trim_start_matches('+');
            let by = format!("kind = \"{phone_kind}\"\ndigits = \"{digits}\"");
            let phone = format!("phone-{lock_kind}-{phone_kind}.toml");
            let store = format!("{lock_kind}-{phone_kind}.chip");
            house.variant("phone.toml", &phone, &[(&named_by_imei, &by), ("phone.chip", &store)]);
            let tap = tap_at(&house, &lock, &phone, &url);
            assert_eq!(
                (&tap["verdict"], &tap["downloaded"]),
                (&"open".into(), &true.into()),
                "{lock_kind} {phone_kind}: {tap}"
            );
        }
    }
    // Somebody else's name is not enough: the requests are signed, and the lock is another one.
    house.variant(
        "lock.toml",
        "lock-x.toml",
        &[(&named_by_mac, "identifier = { mac = \"02:00:5e:99:00:01\" }")],
    );
    house.variant("phone.toml", "phone-x.toml", &[("phone.chip", "x.chip")]);
    let tap = tap_at(&house, "lock-x.toml", "phone-x.toml", &url);
    assert_eq!(
        (&tap["verdict"], &tap["reason"]),
        (&"refused".into(), &"server-error".into()),
        "{tap}"
    );
    assert!(tap["detail"].as_str().unwrap().contains("lock-unregistered"), "{tap}");
}

#[test]
fn chips_that_speak_s16_are_administered_too() {
    let house = House::with(&["--bare-phone"]);
    house.edit("phone.toml", "\nkvn = ", "\ni = 0x71\nkvn = ");
    house.edit("lock.toml", "\nkvn = ", "\ni = 0x71\nkvn = ");
    let (_server, url) = server(&house);
    let tap = tap_at(&house, "lock.toml", "phone.toml", &url);
    assert_eq!((&tap["verdict"], &tap["downloaded"]), (&"open".into(), &true.into()), "{tap}");
}
