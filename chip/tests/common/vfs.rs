//! A SQLite file layer that loses power: files in memory, each with what is durable and what was written since the last sync.
//!
//! The model is that of a disk under SQLite's own Unix layer: `xSync` makes a file's data durable, and the first sync of a new file makes
//! the directory durable too. Whatever was not synced when the power goes may be there, may be missing, or may be there in part, in any order,
//! sector by sector.
#![allow(unsafe_code, dead_code, missing_docs, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use rusqlite::{Connection, OpenFlags, ffi};

const NAME: &CStr = c"tapdoor-power-cut";
const SECTOR: usize = 512;

/// What was asked of a file and may be lost.
#[derive(Clone, Debug)]
enum Change {
    Create,
    Delete,
    Write { offset: usize, data: Vec<u8> },
    Truncate(usize),
}

#[derive(Clone, Debug, Default)]
struct File {
    /// What a power cut leaves for certain; none when the file is not there.
    durable: Option<Vec<u8>>,
    /// What programs see.
    live: Option<Vec<u8>>,
    /// What happened since, with its place in the order over all files.
    pending: Vec<(usize, Change)>,
}

impl File {
    fn change(&mut self, number: usize, change: Change) {
        apply(&mut self.live, &change, &mut |_| true);
        self.pending.push((number, change));
    }

    /// The directory was synced: the file's name is what it is, its data are not yet safe.
    fn settle_name(&mut self) {
        if let Some(last) = self.pending.iter().rposition(|(_, c)| matches!(c, Change::Create | Change::Delete)) {
            self.durable = matches!(self.pending[last].1, Change::Create).then(Vec::new);
            self.pending.drain(..=last);
        }
    }
}

/// `keep` says for each sector whether it reached the medium.
fn apply(content: &mut Option<Vec<u8>>, change: &Change, keep: &mut dyn FnMut(usize) -> bool) {
    match change {
        Change::Create => *content = Some(Vec::new()),
        Change::Delete => *content = None,
        Change::Truncate(length) => {
            if let Some(content) = content {
                content.resize(*length, 0);
            }
        }
        Change::Write { offset, data } => {
            let Some(content) = content else { return };
            let mut at = *offset;
            while at < offset + data.len() {
                let end = ((at / SECTOR + 1) * SECTOR).min(offset + data.len());
                if keep(at / SECTOR) {
                    if content.len() < end {
                        content.resize(end, 0);
                    }
                    content[at..end].copy_from_slice(&data[at - offset..end - offset]);
                }
                at = end;
            }
        }
    }
}

#[derive(Debug, Default)]
struct Medium {
    files: BTreeMap<String, File>,
    /// Writes, truncations, syncs, creations and deletions so far.
    operations: usize,
    cut_at: Option<usize>,
    dead: bool,
}

impl Medium {
    /// Counts an operation. `None` when there is no power any more; `Some(false)` when it goes during this very operation.
    fn operation(&mut self) -> Option<bool> {
        if self.dead {
            return None;
        }
        self.dead = self.cut_at == Some(self.operations);
        self.operations += 1;
        Some(!self.dead)
    }

    fn change(&mut self, name: &str, change: Change) -> bool {
        let number = self.operations;
        let Some(survived) = self.operation() else { return false };
        self.files.entry(name.into()).or_default().change(number, change);
        survived
    }

    fn sync(&mut self, name: &str) -> bool {
        if self.operation() != Some(true) {
            return false;
        }
        let Some(file) = self.files.get_mut(name) else { return false };
        let is_new = file.pending.iter().any(|(_, c)| matches!(c, Change::Create));
        file.durable = file.live.clone();
        file.pending.clear();
        if is_new {
            self.files.values_mut().for_each(File::settle_name);
        }
        true
    }

    fn delete(&mut self, name: &str, sync_directory: bool) -> bool {
        if self.files.get(name).is_none_or(|f| f.live.is_none()) {
            return !self.dead;
        }
        let survived = self.change(name, Change::Delete);
        if survived && sync_directory {
            self.files.values_mut().for_each(File::settle_name);
        }
        survived
    }
}

/// What of the unsynced changes survives a power cut.
#[derive(Clone, Copy, Debug)]
pub enum Survivors {
    /// Nothing.
    None,
    /// The first ones, up to a place that the seed chooses.
    Prefix(u64),
    /// Any of them, writes torn at sectors, as the seed chooses.
    Torn(u64),
}

/// A small generator, so that every run can be repeated.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xD1B5_4A32_D192_ED03)
    }

    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.roll() % limit.max(1) as u64) as usize
    }
}

/// A disk whose power can be cut. Connections opened on it see the files of this disk only.
pub struct Disk {
    medium: Arc<Mutex<Medium>>,
    id: u64,
}

static NEXT: AtomicU64 = AtomicU64::new(0);

fn disks() -> &'static Mutex<BTreeMap<u64, Arc<Mutex<Medium>>>> {
    static DISKS: OnceLock<Mutex<BTreeMap<u64, Arc<Mutex<Medium>>>>> = OnceLock::new();
    DISKS.get_or_init(Mutex::default)
}

impl Disk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::with(BTreeMap::new())
    }

    fn with(files: BTreeMap<String, File>) -> Self {
        register();
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let medium = Arc::new(Mutex::new(Medium {
            files,
            ..Medium::default()
        }));
        disks().lock().unwrap().insert(id, Arc::clone(&medium));
        Self { medium, id }
    }

    /// The power will go at this operation (counted from 0, from the disk's first on).
    pub fn cut_at(&self, operation: usize) {
        self.medium.lock().unwrap().cut_at = Some(operation);
    }

    /// How many operations there were.
    pub fn operations(&self) -> usize {
        self.medium.lock().unwrap().operations
    }

    /// How much is written and not synced.
    pub fn unsynced(&self) -> usize {
        self.medium.lock().unwrap().files.values().map(|f| f.pending.len()).sum()
    }

    pub fn has_power(&self) -> bool {
        !self.medium.lock().unwrap().dead
    }

    /// The power goes (if it has not gone yet), and comes back: the disk as a program finds it then.
    pub fn reboot(&self, survivors: Survivors) -> Self {
        let mut medium = self.medium.lock().unwrap();
        medium.dead = true;
        let mut files: BTreeMap<String, Option<Vec<u8>>> = medium.files.iter().map(|(n, f)| (n.clone(), f.durable.clone())).collect();
        let mut changes: Vec<(usize, &String, &Change)> = medium
            .files
            .iter()
            .flat_map(|(name, f)| f.pending.iter().map(move |(number, change)| (*number, name, change)))
            .collect();
        changes.sort_by_key(|(number, ..)| *number);
        let (prefix, mut dice) = match survivors {
            Survivors::None => (0, Dice::new(0)),
            Survivors::Prefix(seed) => (Dice::new(seed).below(changes.len() + 1), Dice::new(seed)),
            Survivors::Torn(seed) => (changes.len(), Dice::new(seed)),
        };
        let torn = matches!(survivors, Survivors::Torn(_));
        for (_, name, change) in changes.into_iter().take(prefix) {
            let content = files.entry(name.clone()).or_default();
            if torn && !matches!(change, Change::Write { .. }) && dice.below(2) == 0 {
                continue;
            }
            apply(content, change, &mut |_| !torn || dice.below(2) == 0);
        }
        let files = files
            .into_iter()
            .filter_map(|(name, content)| {
                content.map(|c| {
                    (
                        name,
                        File {
                            durable: Some(c.clone()),
                            live: Some(c),
                            pending: Vec::new(),
                        },
                    )
                })
            })
            .collect();
        Self::with(files)
    }

    /// The file's content as programs see it.
    pub fn read(&self, name: &str) -> Option<Vec<u8>> {
        self.medium.lock().unwrap().files.get(name).and_then(|f| f.live.clone())
    }

    /// Opens a database on this disk.
    pub fn connect(&self, name: &str) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let path = PathBuf::from(format!("/{}/{name}", self.id));
        let connection = Connection::open_with_flags_and_vfs(path, flags, NAME)?;
        // The layer has no shared memory, so WAL needs this before the first access, as the store itself does it for its own files.
        connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        Ok(connection)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        disks().lock().unwrap().remove(&self.id);
    }
}

/// An open file: what stands behind SQLite's `sqlite3_file`.
struct Handle {
    medium: Arc<Mutex<Medium>>,
    /// None for a temporary file, which is nobody's after a power cut.
    name: Option<String>,
    temporary: Vec<u8>,
}

#[repr(C)]
struct CutFile {
    base: ffi::sqlite3_file,
    handle: *mut Handle,
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 1,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(lock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: None,
    xShmLock: None,
    xShmBarrier: None,
    xShmUnmap: None,
    xFetch: None,
    xUnfetch: None,
};

fn register() {
    static DONE: OnceLock<()> = OnceLock::new();
    DONE.get_or_init(|| {
        // SAFETY: sqlite3_initialize may be called at any time; the default layer that it installs lives as long as the process.
        let default = unsafe {
            ffi::sqlite3_initialize();
            ffi::sqlite3_vfs_find(std::ptr::null())
        };
        assert!(!default.is_null());
        // SAFETY: `default` points to SQLite's own layer, which is a plain structure that may be copied.
        let mut layer = unsafe { *default };
        layer.iVersion = 2;
        layer.szOsFile = size_of::<CutFile>() as c_int;
        layer.mxPathname = 512;
        layer.pNext = std::ptr::null_mut();
        layer.zName = NAME.as_ptr();
        layer.pAppData = std::ptr::null_mut();
        layer.xOpen = Some(open);
        layer.xDelete = Some(delete);
        layer.xAccess = Some(access);
        layer.xFullPathname = Some(full_pathname);
        layer.xDlOpen = None;
        layer.xDlError = None;
        layer.xDlSym = None;
        layer.xDlClose = None;
        // xRandomness, xSleep, xCurrentTime and xGetLastError stay the default layer's: they use no file and no pAppData.
        let layer = Box::leak(Box::new(layer));
        // SAFETY: the structure is leaked, so it outlives SQLite's use of it, and all its functions keep to their contracts.
        let result = unsafe { ffi::sqlite3_vfs_register(layer, 0) };
        assert_eq!(result, ffi::SQLITE_OK);
    });
}

/// `/id/name` as disk and name.
///
/// # Safety
/// `path` is a C string.
unsafe fn locate(path: *const c_char) -> Option<(Arc<Mutex<Medium>>, String)> {
    // SAFETY: as promised by the caller.
    let path = unsafe { CStr::from_ptr(path) }.to_str().ok()?;
    let (id, name) = path.strip_prefix('/')?.split_once('/')?;
    let medium = disks().lock().unwrap().get(&id.parse().ok()?).cloned()?;
    Some((medium, name.into()))
}

/// # Safety
/// `file` was opened by [`open`] and not closed; SQLite uses a file from one thread at a time.
unsafe fn handle<'a>(file: *mut ffi::sqlite3_file) -> &'a mut Handle {
    // SAFETY: `open` put a CutFile there, whose handle is a leaked box until `close`.
    unsafe { &mut *(*file.cast::<CutFile>()).handle }
}

unsafe extern "C" fn open(
    _: *mut ffi::sqlite3_vfs,
    path: *const c_char,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    let file = file.cast::<CutFile>();
    // SAFETY: SQLite gives szOsFile bytes for the file; without methods it will not be closed.
    unsafe { (*file).base.pMethods = std::ptr::null() };
    let (medium, name) = if path.is_null() {
        (Arc::default(), None)
    } else {
        // SAFETY: SQLite's names are C strings.
        let Some((medium, name)) = (unsafe { locate(path) }) else {
            return ffi::SQLITE_CANTOPEN;
        };
        {
            let mut medium = medium.lock().unwrap();
            if medium.dead {
                return ffi::SQLITE_CANTOPEN;
            }
            if medium.files.get(&name).is_none_or(|f| f.live.is_none())
                && (flags & ffi::SQLITE_OPEN_CREATE == 0 || !medium.change(&name, Change::Create))
            {
                return ffi::SQLITE_CANTOPEN;
            }
        }
        (medium, Some(name))
    };
    let handle = Box::into_raw(Box::new(Handle {
        medium,
        name,
        temporary: Vec::new(),
    }));
    // SAFETY: as above; `out_flags` is null or SQLite's.
    unsafe {
        (*file).handle = handle;
        (*file).base.pMethods = &METHODS;
        if !out_flags.is_null() {
            *out_flags = flags;
        }
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: `open` leaked the box; SQLite closes once.
    drop(unsafe { Box::from_raw((*file.cast::<CutFile>()).handle) });
    ffi::SQLITE_OK
}

unsafe extern "C" fn read(file: *mut ffi::sqlite3_file, to: *mut c_void, amount: c_int, offset: i64) -> c_int {
    // SAFETY: SQLite reads from files that are open.
    let handle = unsafe { handle(file) };
    // SAFETY: SQLite gives a buffer of `amount` bytes.
    let to = unsafe { std::slice::from_raw_parts_mut(to.cast::<u8>(), amount as usize) };
    to.fill(0);
    let medium = handle.medium.lock().unwrap();
    if medium.dead {
        return ffi::SQLITE_IOERR;
    }
    let content: &[u8] = match &handle.name {
        None => &handle.temporary,
        Some(name) => medium.files.get(name).and_then(|f| f.live.as_deref()).unwrap_or(&[]),
    };
    let there = content.get(offset as usize..).unwrap_or(&[]);
    let length = there.len().min(to.len());
    to[..length].copy_from_slice(&there[..length]);
    if length == to.len() {
        ffi::SQLITE_OK
    } else {
        ffi::SQLITE_IOERR_SHORT_READ
    }
}

fn change(handle: &mut Handle, change: Change) -> c_int {
    let Some(name) = &handle.name else {
        let mut content = Some(std::mem::take(&mut handle.temporary));
        apply(&mut content, &change, &mut |_| true);
        handle.temporary = content.unwrap_or_default();
        return ffi::SQLITE_OK;
    };
    if handle.medium.lock().unwrap().change(name, change) {
        ffi::SQLITE_OK
    } else {
        ffi::SQLITE_IOERR
    }
}

unsafe extern "C" fn write(file: *mut ffi::sqlite3_file, from: *const c_void, amount: c_int, offset: i64) -> c_int {
    // SAFETY: SQLite writes to files that are open, from a buffer of `amount` bytes.
    let (handle, data) = unsafe { (handle(file), std::slice::from_raw_parts(from.cast::<u8>(), amount as usize)) };
    change(
        handle,
        Change::Write {
            offset: offset as usize,
            data: data.to_vec(),
        },
    )
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, length: i64) -> c_int {
    // SAFETY: the file is open.
    change(unsafe { handle(file) }, Change::Truncate(length as usize))
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    // SAFETY: the file is open.
    let handle = unsafe { handle(file) };
    match &handle.name {
        Some(name) if !handle.medium.lock().unwrap().sync(name) => ffi::SQLITE_IOERR,
        _ => ffi::SQLITE_OK,
    }
}

unsafe extern "C" fn file_size(file: *mut ffi::sqlite3_file, size: *mut i64) -> c_int {
    // SAFETY: the file is open.
    let handle = unsafe { handle(file) };
    let medium = handle.medium.lock().unwrap();
    let length = match &handle.name {
        None => handle.temporary.len(),
        Some(name) => medium.files.get(name).and_then(|f| f.live.as_ref()).map_or(0, Vec::len),
    };
    // SAFETY: `size` is SQLite's variable.
    unsafe { *size = length as i64 };
    if medium.dead { ffi::SQLITE_IOERR } else { ffi::SQLITE_OK }
}

/// One connection at a time is all these tests have.
unsafe extern "C" fn lock(_: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    ffi::SQLITE_OK
}

unsafe extern "C" fn check_reserved_lock(_: *mut ffi::sqlite3_file, out: *mut c_int) -> c_int {
    // SAFETY: `out` is SQLite's variable.
    unsafe { *out = 0 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn file_control(_: *mut ffi::sqlite3_file, _: c_int, _: *mut c_void) -> c_int {
    ffi::SQLITE_NOTFOUND
}

unsafe extern "C" fn sector_size(_: *mut ffi::sqlite3_file) -> c_int {
    SECTOR as c_int
}

/// As the Unix layer says it of its disks: bytes beside a write stay what they are.
unsafe extern "C" fn device_characteristics(_: *mut ffi::sqlite3_file) -> c_int {
    ffi::SQLITE_IOCAP_POWERSAFE_OVERWRITE
}

unsafe extern "C" fn delete(_: *mut ffi::sqlite3_vfs, path: *const c_char, sync_directory: c_int) -> c_int {
    // SAFETY: SQLite's names are C strings.
    let Some((medium, name)) = (unsafe { locate(path) }) else {
        return ffi::SQLITE_IOERR;
    };
    if medium.lock().unwrap().delete(&name, sync_directory != 0) {
        ffi::SQLITE_OK
    } else {
        ffi::SQLITE_IOERR
    }
}

unsafe extern "C" fn access(_: *mut ffi::sqlite3_vfs, path: *const c_char, _: c_int, out: *mut c_int) -> c_int {
    // SAFETY: SQLite's names are C strings, and `out` is its variable.
    unsafe {
        *out = match locate(path) {
            // An empty file does not count, as in the Unix layer.
            Some((medium, name)) => c_int::from(
                medium
                    .lock()
                    .unwrap()
                    .files
                    .get(&name)
                    .is_some_and(|f| f.live.as_ref().is_some_and(|c| !c.is_empty())),
            ),
            None => 0,
        };
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn full_pathname(_: *mut ffi::sqlite3_vfs, path: *const c_char, size: c_int, out: *mut c_char) -> c_int {
    // SAFETY: `path` is a C string.
    let path: CString = unsafe { CStr::from_ptr(path) }.into();
    let bytes = path.as_bytes_with_nul();
    if bytes.len() > size as usize {
        return ffi::SQLITE_CANTOPEN;
    }
    // SAFETY: SQLite gives `size` bytes at `out`, which are enough.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr().cast::<c_char>(), out, bytes.len()) };
    ffi::SQLITE_OK
}
