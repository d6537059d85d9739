//! A private pcscd with virtual readers for one test: own mount namespace, own socket, own ports, nothing left behind.
//!
//! Include it with `#[path = "../../tests/support/pcscd.rs"] mod pcscd;`. Several can run at the same time.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::HashSet;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

/// The name that makes other people's programs take the virtual reader for an ACR122U.
pub const ACR122U: &str = "ACS ACR122U PICC Interface";
const DRIVER: &str = "/usr/lib/pcsc/drivers/serial/libifdvpcd.so";
const READY: Duration = Duration::from_secs(10);

/// Why there can be no pcscd here.
#[derive(Debug)]
pub struct Skip(pub String);

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "skipped: {}", self.0)
    }
}

/// A pcscd of one's own. Dropping it ends it and takes its files away; should this process die, the kernel ends it.
pub struct Pcscd {
    dir: PathBuf,
    readers: Vec<Reader>,
    child: Option<Child>,
}

struct Reader {
    name: String,
    ports: Ports,
}

impl Pcscd {
    /// With one reader that calls itself an ACR122U (pcscd adds ` 00 00`, and ` 00 01` for its second slot).
    pub fn start() -> Result<Self, Skip> {
        Self::start_with(&[ACR122U])
    }

    /// The same, where the reason for having none is printed, or fails the test if the environment has `CI=true`.
    pub fn start_or_skip() -> Option<Self> {
        match Self::start() {
            Ok(pcscd) => Some(pcscd),
            Err(skip) if std::env::var("CI").as_deref() == Ok("true") => panic!("with CI=true nothing may be {skip}"),
            Err(skip) => {
                eprintln!("{skip}");
                None
            }
        }
    }

    /// With a reader (of two slots) for each name.
    pub fn start_with(names: &[&str]) -> Result<Self, Skip> {
        check_tools()?;
        let mut pcscd = Self {
            dir: temp_dir(),
            readers: Vec::new(),
            child: None,
        };
        fs::create_dir(pcscd.dir.join("run")).unwrap();
        fs::create_dir(pcscd.dir.join("conf")).unwrap();
        for name in names {
            pcscd.readers.push(Reader {
                name: (*name).to_owned(),
                ports: Ports::claim(),
            });
            pcscd.plug(pcscd.readers.len() - 1);
        }
        pcscd.restart().map_err(Skip)?;
        Ok(pcscd)
    }

    /// Where a card connects for the first slot of the first reader; its second slot is at the next port.
    pub fn port(&self) -> u16 {
        self.readers[0].ports.first
    }

    /// The same for the reader at `index`.
    pub fn port_of(&self, index: usize) -> u16 {
        self.readers[index].ports.first
    }

    /// The socket that clients find by PCSCLITE_CSOCK_NAME.
    pub fn socket(&self) -> PathBuf {
        self.dir.join("run/pcscd.comm")
    }

    /// What a client program needs in its environment.
    pub fn env(&self) -> [(&'static str, PathBuf); 1] {
        [("PCSCLITE_CSOCK_NAME", self.socket())]
    }

    /// pcscd's process.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// What pcscd said.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.dir.join("log")).unwrap_or_default()).into_owned()
    }

    /// Ends pcscd as a crash does: its socket stays behind.
    pub fn kill9(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Ends pcscd, if it runs, and starts it again with the same readers, ports and socket.
    pub fn restart(&mut self) -> Result<(), String> {
        self.kill9();
        for file in fs::read_dir(self.dir.join("run")).unwrap().flatten() {
            let _ = fs::remove_file(file.path());
        }
        let log = File::options().create(true).append(true).open(self.dir.join("log")).unwrap();
        let mut command = Command::new("unshare");
        command.arg(if is_root() { "-m" } else { "-rm" });
        // The shell becomes pcscd, so that it is our child and dies with us.
        command
            .args(["--propagation", "private", "sh", "-ec", SCRIPT, "pcscd"])
            .arg(&self.dir);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.child = Some(spawn(command).map_err(|e| format!("unshare: {e}"))?);
        self.wait_ready()
    }

    /// Blocks until clients can connect and every reader listens for its card.
    pub fn wait_ready(&mut self) -> Result<(), String> {
        let end = Instant::now() + READY;
        loop {
            if let Some(status) = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten()) {
                self.child = None;
                return Err(format!("pcscd ended with {status}: {}", self.log()));
            }
            let listening = listening();
            let plugged = self.readers.iter().enumerate().filter(|(index, _)| self.conf(*index).exists());
            let ready = plugged
                .flat_map(|(_, r)| [r.ports.first, r.ports.first + 1])
                .all(|port| listening.contains(&port));
            if ready && UnixStream::connect(self.socket()).is_ok() {
                return Ok(());
            }
            if Instant::now() > end {
                return Err(format!("pcscd was not ready in {READY:?}: {}", self.log()));
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Leaves the reader at `index` out from the next [`Pcscd::restart`] on: a pcscd with libudev, as Debian builds it,
    /// does not read its configuration again, not even for SIGUSR1.
    pub fn unplug(&mut self, index: usize) {
        fs::remove_file(self.conf(index)).unwrap();
    }

    /// Has the reader at `index` again from the next [`Pcscd::restart`] on.
    pub fn replug(&mut self, index: usize) {
        self.plug(index);
    }

    fn conf(&self, index: usize) -> PathBuf {
        self.dir.join(format!("conf/reader{index}"))
    }

    fn plug(&self, index: usize) {
        let Reader { name, ports } = &self.readers[index];
        // Two entries with the same library corrupt each other.
        let library = self.dir.join(format!("libifdvpcd{index}.so"));
        if !library.exists() {
            fs::copy(DRIVER, &library).unwrap();
        }
        let (port, library) = (ports.first, library.display());
        let text = format!("FRIENDLYNAME \"{name}\"\nDEVICENAME /dev/null:0x{port:04X}\nLIBPATH {library}\nCHANNELID 0x{port:04X}\n");
        // In one step, for pcscd may be reading.
        let temporary = self.dir.join("reader.new");
        fs::write(&temporary, text).unwrap();
        fs::rename(temporary, self.conf(index)).unwrap();
    }
}

/// Puts $1/run over /run/pcscd in this namespace (over a /run of our own where we may not make that directory), and
/// becomes pcscd.
const SCRIPT: &str = r#"
[ -d /run/pcscd ] || mkdir /run/pcscd 2>/dev/null || { mount -t tmpfs tmpfs /run && mkdir /run/pcscd; }
mount --bind "$1/run" /run/pcscd
exec setpriv --pdeathsig KILL pcscd --foreground -c "$1/conf"
"#;

impl Drop for Pcscd {
    fn drop(&mut self) {
        self.kill9();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn check_tools() -> Result<(), Skip> {
    if !Path::new(DRIVER).exists() {
        return Err(Skip(format!("no {DRIVER}; apt-get install vsmartcard-vpcd")));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let known = |tool: &&str| std::env::split_paths(&path).any(|dir| dir.join(tool).exists());
    if let Some(tool) = ["pcscd", "unshare", "setpriv", "mount"].iter().find(|tool| !known(tool)) {
        return Err(Skip(format!("no {tool} in PATH; apt-get install pcscd util-linux")));
    }
    let mut probe = Command::new("unshare");
    probe
        .args([if is_root() { "-m" } else { "-rm" }, "true"])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    match probe.status() {
        Ok(status) if status.success() => Ok(()),
        _ => Err(Skip("mount namespaces are not allowed here".to_owned())),
    }
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0)
}

/// Short, because the path of a Unix socket may not be long.
fn temp_dir() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // What tests left behind that were killed.
    for entry in fs::read_dir("/tmp").into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name
            .to_str()
            .and_then(|name| name.strip_prefix("tapdoor-pcscd-")?.split_once('-'))
            .map(|(pid, _)| pid);
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    loop {
        let dir = PathBuf::from(format!(
            "/tmp/tapdoor-pcscd-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        ));
        match fs::create_dir(&dir) {
            Ok(()) => {
                fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).unwrap();
                return dir;
            }
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => panic!("{}: {e}", dir.display()),
        }
    }
}

/// Two neighbouring TCP ports that no other test takes while this lives.
struct Ports {
    first: u16,
    // Locked.
    _claim: File,
}

impl Ports {
    /// Below the range from which the kernel takes ports for those who do not mind.
    fn claim() -> Self {
        let dir = std::env::temp_dir().join("tapdoor-ports");
        let _ = fs::create_dir(&dir);
        let _ = fs::set_permissions(&dir, fs::Permissions::from_mode(0o1777));
        let start = (std::process::id() % 4000) as u16;
        for n in 0..4000 {
            let first = 20_000 + (start + n) % 4000 * 2;
            let Ok(claim) = File::options().create(true).append(true).open(dir.join(first.to_string())) else {
                continue;
            };
            let free = |port: u16| TcpListener::bind(("0.0.0.0", port)).is_ok();
            if claim.try_lock().is_ok() && free(first) && free(first + 1) {
                return Self { first, _claim: claim };
            }
        }
        panic!("no free pair of ports");
    }
}

/// The TCP ports on which somebody listens. Asking them by connecting would be inserting a card.
fn listening() -> HashSet<u16> {
    let mut ports = HashSet::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        for line in fs::read_to_string(table).unwrap_or_default().lines().skip(1) {
            let mut fields = line.split_whitespace().skip(1);
            let (local, state) = (fields.next(), fields.nth(1));
            let port = local
                .and_then(|local| local.rsplit_once(':'))
                .and_then(|(_, port)| u16::from_str_radix(port, 16).ok());
            if let (Some(port), Some("0A")) = (port, state) {
                ports.insert(port);
            }
        }
    }
    ports
}

/// Spawns from a thread that lasts as long as this process: the kernel's parent-death signal is sent when the *thread*
/// ends that spawned, and every test is a thread.
fn spawn(command: Command) -> io::Result<Child> {
    type Job = (Command, Sender<io::Result<Child>>);
    static SPAWNER: OnceLock<Mutex<Sender<Job>>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (jobs, queue): (Sender<Job>, Receiver<Job>) = channel();
        thread::spawn(move || {
            for (mut command, done) in queue {
                let _ = done.send(command.spawn());
            }
        });
        Mutex::new(jobs)
    });
    let (done, result) = channel();
    spawner.lock().unwrap().send((command, done)).unwrap();
    result.recv().unwrap()
}
