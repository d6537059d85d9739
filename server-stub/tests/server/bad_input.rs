//! What bad input gets: a reason, and nothing is changed by it.

use std::time::{Duration, Instant};

use serde_json::json;
use tapdoor_protocol::globalplatform::remote_admin as names;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::agent::Agent;
use crate::site::{Ask, PHONE, Site, TOKEN, answer, client, server_toml};
use tapdoor_server::ca::Authority;
use tapdoor_server::{Server, ServerConfig, StartError};

#[tokio::test(flavor = "multi_thread")]
async fn downloads() {
    let site = Site::start_with(|toml| toml.replace("[limits]", "[limits]\nbody = 4096")).await;
    let url = format!("{}/v1/downloads", site.url);
    let post = || site.client.post(&url);
    let code = |(status, body): (u16, serde_json::Value)| (status, body["code"].as_str().unwrap_or_default().to_owned());
    let expect = |status: u16, code: &str| (status, code.to_owned());
    let text = Ask::new().body().to_string();
    assert_eq!(code(answer(post().body(text.clone())).await), expect(415, "unsupported-media-type"));
    let json = || post().header("content-type", "application/json; charset=utf-8");
    assert_eq!(code(answer(json().body(text[..100].to_owned())).await), expect(400, "malformed"));
    assert_eq!(code(answer(json().body(" ".repeat(5000))).await), expect(413, "too-large"));
    assert_eq!(code(answer(json()).await), expect(400, "malformed"));
    let stranger = Ask {
        lock: json!({"imsi": "001010000000009"}),
        ..Ask::new()
    };
    assert_eq!(code(answer(post().json(&stranger.body())).await), expect(403, "lock-unregistered"));
    assert_eq!(code(answer(site.client.get(&url)).await), expect(405, "method-not-allowed"));
    assert_eq!(
        code(answer(site.client.get(format!("{}/nothing", site.url))).await),
        expect(404, "not-found")
    );
    // Nothing of this made a job: there is only the one of the configuration's grant.
    assert_eq!(site.get("/v1/status").await.1["jobs"]["queued"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_requests() {
    let site = Site::start_with(|toml| toml.replace("downloads-per-minute = 60", "downloads-per-minute = 3")).await;
    let stranger = Ask {
        lock: json!({"imsi": "001010000000009"}),
        ..Ask::new()
    };
    let mut codes = Vec::new();
    for _ in 0..4 {
        let request = site.client.post(format!("{}/v1/downloads", site.url)).json(&stranger.body());
        codes.push(answer(request).await.0);
    }
    assert_eq!(codes, [403, 403, 403, 429]);
}

#[tokio::test(flavor = "multi_thread")]
async fn agents() {
    let site = Site::start().await;
    let phone = Agent::phone(&site, PHONE);
    let status = |request: reqwest::RequestBuilder| async { request.send().await.unwrap().status().as_u16() };
    let bare = || site.client.post(format!("{}/v1/admin", site.url));
    assert_eq!(status(bare()).await, 400, "no protocol header");
    assert_eq!(status(bare().header(names::PROTOCOL, names::PROTOCOL_VALUE)).await, 400, "nobody");
    let nobody = bare()
        .header(names::PROTOCOL, names::PROTOCOL_VALUE)
        .header(names::FROM, "//tapdoor/door/00");
    assert_eq!(status(nobody).await, 400);
    let next = phone.connect().await.next.unwrap();
    let typed = phone
        .request(&next)
        .header("content-type", "text/plain")
        .header(names::SCRIPT_STATUS, "ok")
        .body("x");
    assert_eq!(status(typed).await, 415);
    let unknown = phone.request(&next).header(names::SCRIPT_STATUS, "perhaps");
    assert_eq!(status(unknown).await, 400);
    // After all of that the session is where it was.
    assert_eq!(phone.step(&next, vec![]).await.status, 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn administration_wants_the_token() {
    let site = Site::start().await;
    for path in [
        "/v1/locks",
        "/v1/phones",
        "/v1/grants",
        "/v1/systems",
        "/v1/applications",
        "/v1/jobs",
        "/v1/status",
    ] {
        let url = format!("{}{path}", site.url);
        assert_eq!(answer(site.client.get(&url)).await.0, 401, "{path}");
        assert_eq!(
            answer(site.client.get(&url).bearer_auth("0123456789abcdef0123456789abcdee"))
                .await
                .0,
            401
        );
        assert_eq!(answer(site.client.get(&url).bearer_auth(TOKEN)).await.0, 200, "{path}");
    }
    assert_eq!(
        answer(site.client.get(format!("{}/healthz", site.url))).await.1,
        json!({"status": "ok"})
    );
    let closed = Site::start_with(|toml| toml.replace(&format!("admin-token = \"{TOKEN}\"\n"), "")).await;
    assert_eq!(closed.get("/v1/locks").await.0, 401);
}

/// A server without TLS, for what reqwest would not send.
async fn plain(limits: &str) -> (tapdoor_server::RunningServer, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let toml = server_toml(folder.path(), false).replace("[limits]\n", &format!("[limits]\n{limits}"));
    let config = ServerConfig::parse(&folder.path().join("server.toml"), &toml).unwrap();
    (Server::start(config).await.unwrap(), folder)
}

async fn whole_answer(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut text))
        .await
        .unwrap()
        .unwrap();
    String::from_utf8_lossy(&text).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_headers_and_bodies_are_cut_off() {
    let (server, _folder) = plain("").await;
    let mut slow = TcpStream::connect(server.addr).await.unwrap();
    slow.write_all(b"POST /v1/downloads HTTP/1.1\r\nHost: x\r\n").await.unwrap();
    let begun = Instant::now();
    let text = whole_answer(&mut slow).await;
    assert!(begun.elapsed() < Duration::from_secs(4) && !text.contains("200 OK"), "{text}");
    let mut slow = TcpStream::connect(server.addr).await.unwrap();
    let head =
        "POST /v1/downloads HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\nConnection: close\r\n\r\n{";
    slow.write_all(head.as_bytes()).await.unwrap();
    let text = whole_answer(&mut slow).await;
    assert!(text.starts_with("HTTP/1.1 408") && text.contains("\"timeout\""), "{text}");
    // Announced as too long: refused before it is sent.
    let mut large = TcpStream::connect(server.addr).await.unwrap();
    let head =
        "POST /v1/downloads HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99999999\r\nConnection: close\r\n\r\n";
    large.write_all(head.as_bytes()).await.unwrap();
    let text = whole_answer(&mut large).await;
    assert!(text.starts_with("HTTP/1.1 413"), "{text}");
    let mut garbage = TcpStream::connect(server.addr).await.unwrap();
    garbage.write_all(b"\x16\x03\x01 this is not HTTP\r\n\r\n").await.unwrap();
    assert!(whole_answer(&mut garbage).await.starts_with("HTTP/1.1 400"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_too_many_is_closed() {
    let (server, _folder) = plain("connections = 2\n").await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(server.addr).await.unwrap();
        // Half a request: the connection is being served.
        stream.write_all(b"GET /healthz HTTP/1.1\r\n").await.unwrap();
        held.push(stream);
    }
    let mut third = TcpStream::connect(server.addr).await.unwrap();
    let _ = third
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .await;
    let mut text = Vec::new();
    let _ = tokio::time::timeout(Duration::from_millis(400), third.read_to_end(&mut text))
        .await
        .unwrap();
    assert!(text.is_empty(), "{}", String::from_utf8_lossy(&text));
    // The two end, and there is room again.
    for mut stream in held {
        stream.write_all(b"Host: x\r\nConnection: close\r\n\r\n").await.unwrap();
        assert!(whole_answer(&mut stream).await.starts_with("HTTP/1.1 200"));
    }
    let mut again = TcpStream::connect(server.addr).await.unwrap();
    again
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    assert!(whole_answer(&mut again).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates() {
    let site = Site::start().await;
    // A client that trusts another authority does not even ask.
    let other = client(&Authority::new().unwrap().certificate_pem);
    assert!(other.get(format!("{}/healthz", site.url)).send().await.unwrap_err().is_connect());
    // Plain HTTP against TLS, and a server whose files are missing.
    let url = site.url.replace("https", "http");
    assert!(site.client.get(format!("{url}/healthz")).send().await.is_err());
    std::fs::remove_file(site.folder.path().join("server.crt")).unwrap();
    let error = Server::start(site.config()).await.unwrap_err();
    assert!(
        matches!(&error, StartError::Tls { .. }) && error.to_string().contains("tapdoor server init"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_answers_those_who_wait() {
    let mut site = Site::start_with(|toml| toml.replace("poll-ms = 400", "poll-ms = 20000")).await;
    let phone = Agent::phone(&site, PHONE);
    let (first, second) = (phone.clone(), phone.clone());
    // The answer to the proof comes at once; the next request is the one that waits.
    let answer = first.connect().await;
    assert_eq!(answer.status, 204);
    let waiting = tokio::spawn(async move { first.step(&answer.next.unwrap(), Vec::new()).await.status });
    let mut tries = 0;
    while site.get("/v1/status").await.1["connected"]["phones"] != 1 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        tries += 1;
        assert!(tries < 300);
    }
    let begun = Instant::now();
    site.stop().await;
    assert_eq!(waiting.await.unwrap(), 204);
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert!(second.request("/v1/admin").send().await.is_err());
}
