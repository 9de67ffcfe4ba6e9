//! Requests to an NSM, from what AWS's crate sends to what no client would.
//!
//! Models: the grammar of ground truth NSM §2.1, each production with the odd
//! spellings of its rows – any integer width, indefinite and positional bodies,
//! names as numbers and bytes, tags, wrong types, doubled and missing fields –
//! then, for some, changed bytes. A function of the choices alone, so that a seed
//! repeats a request.

/// Picks a number below its argument, which is never zero.
pub(crate) type Below<'a> = &'a mut dyn FnMut(usize) -> usize;

/// One request.
pub(crate) fn generate(below: Below<'_>) -> Vec<u8> {
    let mut generator = Generator {
        below,
        bytes: Vec::with_capacity(128),
    };
    generator.request();
    generator.damage();
    generator.bytes
}

/// Name and fields of the commands, in the order of AWS's enum.
const COMMANDS: [(&str, &[&str]); 7] = [
    ("DescribePCR", &["index"]),
    ("ExtendPCR", &["index", "data"]),
    ("LockPCR", &["index"]),
    ("LockPCRs", &["range"]),
    ("DescribeNSM", &[]),
    ("Attestation", &["user_data", "nonce", "public_key"]),
    ("GetRandom", &[]),
];

const NAMES: [&str; 7] = [
    "DescribePCR",
    "ExtendPCR",
    "LockPCR",
    "LockPCRs",
    "DescribeNSM",
    "Attestation",
    "GetRandom",
];

/// Numbers at the edges of registers and of integer widths.
const NUMBERS: [u64; 18] = [
    0,
    1,
    15,
    16,
    17,
    23,
    24,
    30,
    31,
    32,
    33,
    255,
    256,
    65_535,
    65_536,
    u32::MAX as u64,
    1 << 32,
    u64::MAX,
];

struct Generator<'a> {
    below: Below<'a>,
    bytes: Vec<u8>,
}

impl Generator<'_> {
    fn below(&mut self, n: usize) -> usize {
        (self.below)(n)
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn request(&mut self) {
        // Attestations cost a signature each: a few of them say what there is to say.
        let command = match self.below(64) {
            n @ 0..=1 => 5 - n / 2,
            n => [0, 1, 2, 3, 4, 6][n % 6],
        };
        let (_, fields) = COMMANDS[command];
        if self.one_in(60) {
            self.tag();
        }
        let bare = fields.is_empty() != self.one_in(16);
        if bare {
            self.name(&NAMES, command);
            return;
        }
        match self.below(40) {
            0..=2 => self.head(4, 2),
            3 => self.bytes.push(0x9f),
            4 => self.bytes.push(0xbf),
            5 => self.head(5, 2),
            6 => self.bytes.extend([0xb8, 1]),
            7 => self.head(4, 1),
            _ => self.bytes.push(0xa1),
        }
        let outer = self.bytes.last().copied();
        self.name(&NAMES, command);
        if fields.is_empty() && !self.one_in(4) {
            self.nothing();
        } else {
            self.body(fields);
        }
        match outer {
            Some(0x9f | 0xbf) if !self.one_in(8) => self.bytes.push(0xff),
            Some(0xa2) => {
                self.name(&NAMES, command);
                self.body(fields);
            }
            _ => {}
        }
    }

    /// A name as text; sometimes by number, as bytes, in chunks, tagged or wrong.
    fn name(&mut self, names: &[&str], index: usize) {
        let name = names[index].as_bytes();
        if self.one_in(80) {
            self.tag();
        }
        match self.below(32) {
            0 => self.head(0, index as u64),
            1 => self.string(2, name),
            2 => self.chunked(3, name),
            3 => self.chunked(2, name),
            4 if self.one_in(4) => self.any(2),
            5 => {
                let n = self.below(9);
                self.head(0, n as u64);
            }
            6 => {
                let cut = self.below(name.len());
                self.string(3, &name[..cut]);
            }
            _ => self.string(3, name),
        }
    }

    /// The fields as a map or positionally; sometimes reordered, doubled, left
    /// out, or beside fields nobody knows.
    fn body(&mut self, fields: &[&str]) {
        if self.one_in(80) {
            self.tag();
        }
        match self.below(32) {
            0..=2 => {
                let count = match self.below(6) {
                    0 => self.below(5),
                    _ => fields.len(),
                };
                let indefinite = self.one_in(3);
                self.open(4, count, indefinite);
                for index in 0..count {
                    self.value(fields.get(index).copied().unwrap_or("index"));
                }
                self.close(indefinite);
            }
            3 => self.any(3),
            4 => self.nothing(),
            _ => {
                let mut order: Vec<usize> = (0..fields.len()).collect();
                for last in (1..order.len()).rev() {
                    let other = self.below(last + 1);
                    order.swap(last, other);
                }
                if self.one_in(10) && !fields.is_empty() {
                    let doubled = self.below(fields.len());
                    order.push(doubled);
                }
                if self.one_in(10) {
                    order.pop();
                }
                let stranger = self.one_in(10).then(|| self.below(order.len() + 1));
                let indefinite = self.one_in(6);
                let count = order.len() + usize::from(stranger.is_some());
                self.open(5, count, indefinite);
                for at in 0..=order.len() {
                    if stranger == Some(at) {
                        self.string(3, b"zzz");
                        self.any(4);
                    }
                    if let Some(&index) = order.get(at) {
                        self.name(fields, index);
                        self.value(fields[index]);
                    }
                }
                self.close(indefinite);
            }
        }
    }

    fn value(&mut self, field: &str) {
        if self.one_in(80) {
            self.tag();
        }
        match field {
            _ if self.one_in(40) => self.any(3),
            "index" | "range" => {
                let n = match self.below(3) {
                    0 => NUMBERS[self.below(NUMBERS.len())],
                    _ => self.below(34) as u64,
                };
                self.head(0, n);
            }
            "data" => self.data(),
            _ if self.one_in(3) => self.bytes.push(0xf6),
            _ if self.one_in(40) => self.bytes.push(0xf7),
            _ => self.data(),
        }
    }

    /// A byte field in one of its spellings.
    fn data(&mut self) {
        let len = match self.below(64) {
            0 => 1024,
            1 => 4000 + self.below(120),
            2 => 200 + self.below(200),
            _ => self.below(40),
        };
        let fill = self.below(256) as u8;
        let mut content = vec![fill; len];
        if let Some(first) = content.first_mut() {
            *first = first.wrapping_add(1);
        }
        match self.below(12) {
            0 => {
                content.iter_mut().for_each(|byte| *byte &= 0x7f);
                self.string(3, &content);
            }
            1 => self.string(3, &content),
            2 => self.chunked(2, &content),
            3 => {
                content.truncate(40);
                let indefinite = self.one_in(2);
                self.open(4, content.len(), indefinite);
                for byte in content {
                    let n = if self.one_in(200) {
                        256
                    } else {
                        u64::from(byte)
                    };
                    self.head(0, n);
                }
                self.close(indefinite);
            }
            _ => self.string(2, &content),
        }
    }

    fn nothing(&mut self) {
        if self.one_in(10) {
            self.tag();
        }
        let byte = if self.one_in(6) { 0xf7 } else { 0xf6 };
        self.bytes.push(byte);
    }

    /// Any item at all, `depth` levels at most.
    fn any(&mut self, depth: usize) {
        match self.below(if depth == 0 { 8 } else { 12 }) {
            0 | 1 => {
                let n = NUMBERS[self.below(NUMBERS.len())];
                let major = self.below(2) as u8;
                self.head(major, n);
            }
            2 => self.string(2, b"bytes"),
            3 => self.string(3, "t\u{e9}xt".as_bytes()),
            4 => {
                let simple = [0xf4, 0xf5, 0xf6, 0xf7, 0xe0, 0xf8][self.below(6)];
                self.bytes.push(simple);
            }
            5 => self.bytes.extend([0xf9, 0x3c, 0]),
            6 => self.bytes.extend([0xfb, 0x40, 9, 0, 0, 0, 0, 0, 0]),
            7 => self.chunked(3, b"chunks"),
            8 => {
                let (count, indefinite) = (self.below(4), self.one_in(3));
                self.open(4, count, indefinite);
                (0..count).for_each(|_| self.any(depth - 1));
                self.close(indefinite);
            }
            9 => {
                let (count, indefinite) = (self.below(3), self.one_in(3));
                self.open(5, count, indefinite);
                (0..2 * count).for_each(|_| self.any(depth - 1));
                self.close(indefinite);
            }
            10 => {
                self.tag();
                self.any(depth - 1);
            }
            _ => {
                let levels = [3, 100, 120, 124, 125, 126, 127, 128, 129][self.below(9)];
                self.bytes.extend(std::iter::repeat_n(0x81, levels));
                self.bytes.push(0);
            }
        }
    }

    fn tag(&mut self) {
        let tag = [0, 18, 24, 55_799][self.below(4)];
        self.head(6, tag);
    }

    fn open(&mut self, major: u8, count: usize, indefinite: bool) {
        if indefinite {
            self.bytes.push(major << 5 | 31);
        } else {
            // Sometimes a count that is not so.
            let count = if self.one_in(60) { count + 1 } else { count };
            self.head(major, count as u64);
        }
    }

    fn close(&mut self, indefinite: bool) {
        if indefinite && !self.one_in(40) {
            self.bytes.push(0xff);
        }
    }

    fn string(&mut self, major: u8, content: &[u8]) {
        self.head(major, content.len() as u64);
        self.bytes.extend(content);
    }

    fn chunked(&mut self, major: u8, content: &[u8]) {
        self.bytes.push(major << 5 | 31);
        let (first, second) = content.split_at(self.below(content.len() + 1));
        self.string(major, first);
        if self.one_in(4) {
            self.string(major, b"");
        }
        let major = if self.one_in(12) { 5 - major } else { major };
        self.string(major, second);
        self.close(true);
    }

    /// A head in its shortest width, sometimes in a longer one.
    fn head(&mut self, major: u8, n: u64) {
        let shortest = match n {
            0..=23 => 0,
            24..=0xff => 1,
            0x100..=0xffff => 2,
            0x1_0000..=0xffff_ffff => 3,
            _ => 4,
        };
        let width = if self.one_in(12) {
            shortest + self.below(5 - shortest)
        } else {
            shortest
        };
        let major = major << 5;
        match width {
            0 => self.bytes.push(major | n as u8),
            1 => self.bytes.extend([major | 24, n as u8]),
            2 => {
                self.bytes.push(major | 25);
                self.bytes.extend((n as u16).to_be_bytes());
            }
            3 => {
                self.bytes.push(major | 26);
                self.bytes.extend((n as u32).to_be_bytes());
            }
            _ => {
                self.bytes.push(major | 27);
                self.bytes.extend(n.to_be_bytes());
            }
        }
    }

    /// Changes some bytes of every fourth request.
    fn damage(&mut self) {
        if !self.one_in(4) {
            return;
        }
        for _ in 0..=self.below(3) {
            let at = self.below(self.bytes.len() + 1);
            match self.below(6) {
                0 => self.bytes.truncate(at),
                1 => {
                    let byte = self.below(256) as u8;
                    self.bytes.insert(at, byte);
                }
                2 => {
                    let byte = self.below(256) as u8;
                    self.bytes.push(byte);
                }
                3 if at < self.bytes.len() => {
                    self.bytes.remove(at);
                }
                _ => {
                    let bit = self.below(8);
                    if let Some(byte) = self.bytes.get_mut(at) {
                        *byte ^= 1 << bit;
                    }
                }
            }
        }
    }
}
