//! The host functions, as docs/applets.md has them.

#[link(wasm_import_module = "tapdoor")]
unsafe extern "C" {
    pub fn input(at: *mut u8, capacity: usize) -> i32;
    pub fn parameters(at: *mut u8, capacity: usize) -> i32;
    pub fn aid(at: *mut u8, capacity: usize) -> i32;
    pub fn output(data: *const u8, length: usize) -> i32;
    pub fn event(kind: u32, data: *const u8, length: usize) -> i32;
    pub fn random(at: *mut u8, length: usize) -> i32;
    pub fn key(slot: u32, key_out: *mut u32) -> i32;
    pub fn derive(
        parent: u32,
        label: *const u8,
        label_length: usize,
        context: *const u8,
        context_length: usize,
        lengths: *const u8,
        count: usize,
        keys_out: *mut u32,
    ) -> i32;
    pub fn forget(key: u32) -> i32;
    pub fn cmac(key: u32, data: *const u8, length: usize, mac_out: *mut u8) -> i32;
    pub fn ccm_seal(
        key: u32,
        associated: *const u8,
        associated_length: usize,
        plain: *const u8,
        plain_length: usize,
        at: *mut u8,
        capacity: usize,
    ) -> i32;
    pub fn ccm_open(
        key: u32,
        associated: *const u8,
        associated_length: usize,
        sealed: *const u8,
        sealed_length: usize,
        at: *mut u8,
        capacity: usize,
    ) -> i32;
    pub fn find_peer(data: *const u8, length: usize, tag: *const u8, peer_out: *mut u8) -> i32;
    pub fn find_subscriber(imsi: *const u8, length: usize, subscriber_out: *mut u8) -> i32;
    pub fn peer_key(peer: *const u8, which: u32, key_out: *mut u32) -> i32;
    pub fn aka_vector(key: u32, algorithm: u32, rand: *const u8, sqn: *const u8, at: *mut u8, capacity: usize) -> i32;
    pub fn aka_open(key: u32, algorithm: u32, rand: *const u8, autn: *const u8, at: *mut u8, capacity: usize) -> i32;
    pub fn aka_auts(key: u32, algorithm: u32, rand: *const u8, sqn: *const u8, auts_out: *mut u8) -> i32;
    pub fn aka_resynchronise(key: u32, algorithm: u32, rand: *const u8, auts: *const u8, sqn_out: *mut u8) -> i32;
    pub fn aka_gsm(key: u32, algorithm: u32, rand: *const u8, triplet_out: *mut u8) -> i32;
    pub fn reveal_session(session: u32, keys_out: *mut u8) -> i32;
    pub fn ephemeral(pair_out: *mut u8) -> i32;
    pub fn ecies_seal(
        ephemeral: u32,
        recipient: *const u8,
        recipient_length: usize,
        plain: *const u8,
        plain_length: usize,
        at: *mut u8,
        capacity: usize,
    ) -> i32;
    pub fn sign(key: u32, message: *const u8, length: usize, signature_out: *mut u8) -> i32;
    pub fn load(name: *const u8, name_length: usize, at: *mut u8, capacity: usize) -> i32;
    pub fn store(name: *const u8, name_length: usize, value: *const u8, value_length: usize) -> i32;
}
