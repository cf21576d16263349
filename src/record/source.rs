//! What is recorded: its address, which may hold secrets, and the ffmpeg that reads it.

use std::time::Duration;

use super::hls_list::absolute;

/// The longest and the shortest time between two attempts to open an input.
const MAX_DELAY: Duration = Duration::from_secs(30);
const MIN_DELAY: Duration = Duration::from_secs(1);
/// Parts of an address that are shorter than this are no secrets, and would be found everywhere.
const MIN_SECRET_BYTES: usize = 4;
/// The schemes of addresses that are no network sources.
const LOCAL_SCHEMES: [&str; 6] = ["file", "pipe", "fd", "concat", "data", "subfile"];

/// ffmpeg's options that have a value and are meant for HTTP and TLS.
const HTTP_OPTIONS: [&str; 19] = [
    "headers",
    "user_agent",
    "referer",
    "cookies",
    "http_proxy",
    "auth_type",
    "icy",
    "multiple_requests",
    "protocol_whitelist",
    "reconnect",
    "rw_timeout",
    "seekable",
    "timeout",
    "ca_file",
    "cafile",
    "cert_file",
    "key_file",
    "tls_verify",
    "verifyhost",
];

/// An address as ffmpeg takes it. No text that is shown has more of it than scheme and host.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Address(String);

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.shown())
    }
}

impl Address {
    /// The address in a text, without white space around it. A `-` is standard input.
    pub(super) fn new(text: &str) -> Self {
        let text = text.trim();
        Self(if text == "-" { "pipe:0".to_owned() } else { text.to_owned() })
    }

    /// The scheme, in lower case; `None` for a file or a device.
    fn scheme(&self) -> Option<String> {
        let (scheme, _) = self.0.split_once(':')?;
        let is_scheme = !scheme.is_empty()
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        is_scheme.then(|| scheme.to_ascii_lowercase())
    }

    /// Whether it is in a network, so that it is opened again when it ends.
    pub(super) fn is_network(&self) -> bool {
        self.0.contains("://")
            && self.scheme().is_some_and(|scheme| !LOCAL_SCHEMES.contains(&scheme.as_str()))
    }

    /// Whether it is standard input.
    pub(super) fn is_stdin(&self) -> bool {
        self.0 == "pipe:0" || self.0 == "pipe:"
    }

    /// Whether it is an HLS list by its name, or by ffmpeg's arguments in front of it.
    pub(super) fn is_hls(&self, input_args: &[String]) -> bool {
        let path = self.0.split(['?', '#']).next().unwrap_or_default().to_ascii_lowercase();
        let is_named = [".m3u8", ".m3u"].iter().any(|extension| path.ends_with(extension));
        is_named || input_args.windows(2).any(|pair| pair[0] == "-f" && pair[1] == "hls")
    }

    /// The address that a reference in the list at this one means; `None` if it leads elsewhere than into the network.
    pub(super) fn relative(&self, reference: &str) -> Option<Self> {
        absolute(&self.0, reference).map(Self)
    }

    /// The arguments of ffmpeg that copy the text at this address to its output. Of the arguments for the input it takes
    /// those of HTTP and TLS.
    pub(super) fn text_args(&self, input_args: &[String]) -> Vec<String> {
        let mut args = words("-hide_banner -nostdin -v error");
        let is_known = |name: &str| name.strip_prefix('-').is_some_and(|name| HTTP_OPTIONS.contains(&name));
        for pair in input_args.windows(2).filter(|pair| is_known(&pair[0])) {
            args.extend(pair.iter().cloned());
        }
        args.extend(["-f", "data", "-i", &self.0].map(str::to_owned));
        args.extend(words("-map 0 -c copy -f data pipe:1"));
        args
    }

    /// The path, if it is one and not an address.
    pub(super) fn path(&self) -> Option<&str> {
        match self.scheme().as_deref() {
            None => Some(&self.0),
            Some("file") => self.0.split_once(':').map(|(_, path)| path),
            Some(_) => None,
        }
    }

    /// What is shown of it: scheme and host of an address in a network, all of another one.
    pub(super) fn shown(&self) -> String {
        if !self.is_network() {
            return self.0.clone();
        }
        let (scheme, rest) = self.0.split_once("://").unwrap_or((&self.0, ""));
        format!("{scheme}://{}", host(rest))
    }

    /// A text of ffmpeg without the secrets of the address.
    pub(super) fn redact(&self, text: &str) -> String {
        if !self.is_network() {
            return text.to_owned();
        }
        let mut text = text.replace(&self.0, &self.shown());
        let (_, rest) = self.0.split_once("://").unwrap_or_default();
        let host = host(rest);
        let mut parts: Vec<&str> = rest.split(['/', '?', '&', '=', '@', ':', ',', '#', ' ']).collect();
        parts.sort_by_key(|part| std::cmp::Reverse(part.len()));
        for part in parts.iter().filter(|part| part.len() >= MIN_SECRET_BYTES && !host.contains(**part)) {
            text = text.replace(part, "…");
        }
        redact_addresses(&text)
    }

    /// The arguments of ffmpeg that read it and write a transport stream to its output. If it `keeps_clock`, all ffmpegs
    /// that read this source write the same time stamps.
    pub(super) fn ffmpeg_args(
        &self,
        input_args: &[String],
        encode: Option<&str>,
        keeps_clock: bool,
    ) -> Vec<String> {
        let mut args = words("-hide_banner -nostdin -v error");
        args.extend(input_args.iter().cloned());
        args.extend(["-i".to_owned(), self.0.clone()]);
        args.extend(words("-map 0:V:0? -map 0:a? -c copy"));
        if let Some(seconds) = encode {
            args.extend(words(
                "-c:v libx264 -preset veryfast -crf 21 -pix_fmt yuv420p -sc_threshold 0 -g 9999",
            ));
            args.extend(["-force_key_frames".to_owned(), format!("expr:gte(t,n_forced*{seconds})")]);
            args.extend(words("-c:a aac -b:a 160k"));
        }
        if keeps_clock {
            // Frames before the first key frame show the time of the first segment too.
            args.extend(words("-copyts -avoid_negative_ts disabled -copyinkf"));
        }
        // Every packet at once, and each frame of sound in a PES packet of its own, also if it is short (no delay), so that
        // cuts are exact. A stream that ends does not hold up the others.
        args.extend(words(
            "-max_interleave_delta 1000000 -flush_packets 1 -pes_payload_size 0 -muxdelay 0 -f mpegts pipe:1",
        ));
        args
    }
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// Host and port in what follows the scheme of an address.
fn host(rest: &str) -> &str {
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority.rsplit('@').next().unwrap_or_default()
}

/// Shortens all other addresses in a text, such as those that ffmpeg was redirected to, to scheme and host.
fn redact_addresses(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        let is_end = |letter: char| letter.is_whitespace() || "'\"`|<>".contains(letter);
        let (address, behind) = after.split_at(after.find(is_end).unwrap_or(after.len()));
        shown.push_str(before);
        shown.push_str(host(address));
        if address.ends_with(':') && !shown.ends_with(':') {
            shown.push(':');
        }
        rest = behind;
    }
    shown + rest
}

/// How long to wait before an input is opened again.
#[derive(Debug, Default)]
pub(super) struct BackOff {
    failures: u32,
}

impl BackOff {
    /// Notes that the input has delivered.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// How many times in a row it has failed.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    /// The delay after another failure: it doubles from 1 s to 30 s. `random` adds up to a quarter, so that many recorders
    /// of one server do not come all at once.
    pub(super) fn next(&mut self, random: u32) -> Duration {
        let delay = MIN_DELAY.saturating_mul(1 << self.failures.min(5)).min(MAX_DELAY * 4 / 5);
        self.failures = self.failures.saturating_add(1);
        delay + delay / 4 * (random % 1000) / 1000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_scheme_and_host_is_shown() {
        for (address, shown) in [
            ("rtmp://example.org/live/sEcReT", "rtmp://example.org"),
            ("srt://user:pass@example.org:9000?passphrase=abcd1234&mode=caller", "srt://example.org:9000"),
            ("https://[::1]:8080/a.m3u8#x", "https://[::1]:8080"),
            ("udp://239.0.0.1:1234", "udp://239.0.0.1:1234"),
            ("film 1.mkv", "film 1.mkv"),
            ("/dev/video0", "/dev/video0"),
            ("-", "pipe:0"),
        ] {
            assert_eq!(Address::new(address).shown(), shown);
            assert_eq!(format!("{:?}", Address::new(address)), shown);
        }
    }

    #[test]
    fn errors_of_ffmpeg_lose_the_secrets_of_the_address() {
        let address = Address::new("rtmp://user:hunter2@example.org/live/sEcReT?token=abcd1234");
        for (text, shown) in [
            (
                "rtmp://user:hunter2@example.org/live/sEcReT?token=abcd1234: Input/output error",
                "rtmp://example.org: Input/output error",
            ),
            ("Server error: no stream sEcReT with abcd1234", "Server error: no stream … with …"),
            ("redirect to 'https://cdn.example/x?key=1': 404", "redirect to 'https://cdn.example': 404"),
            (
                "Connection to tcp://example.org:1935 failed: refused",
                "Connection to tcp://example.org:1935 failed: refused",
            ),
        ] {
            assert_eq!(address.redact(text), shown);
        }
        assert_eq!(Address::new("a.ts").redact("a.ts: No such file"), "a.ts: No such file");
    }

    #[test]
    fn sources_in_a_network_are_live() {
        for (address, is_network, path) in [
            ("rtmp://a/b", true, None),
            ("udp://:1234", true, None),
            ("https://a/b.m3u8", true, None),
            ("film.mkv", false, Some("film.mkv")),
            ("file:film.mkv", false, Some("film.mkv")),
            ("/a:b.ts", false, Some("/a:b.ts")),
            ("pipe:0", false, None),
        ] {
            let address = Address::new(address);
            assert_eq!((address.is_network(), address.path()), (is_network, path), "{address:?}");
        }
    }

    #[test]
    fn lists_are_known_by_their_names_or_by_the_arguments() {
        for (address, args, expected) in [
            ("https://a/b.m3u8?token=1", "", true),
            ("b.M3U", "", true),
            ("https://a/b?c=d.m3u8", "", false),
            ("https://a/b", "-timeout 1 -f hls", true),
            ("https://a/b", "-f mpegts", false),
        ] {
            assert_eq!(Address::new(address).is_hls(&words(args)), expected, "{address} {args}");
        }
    }

    #[test]
    fn only_options_of_http_and_tls_are_meant_for_a_list() {
        let args = words("-f hls -live_start_index -9 -user_agent x -re -rw_timeout 5");
        let found = Address::new("https://a/b").text_args(&args).join(" ");
        assert!(
            found.ends_with(
                "-user_agent x -rw_timeout 5 -f data -i https://a/b -map 0 -c copy -f data pipe:1"
            )
        );
        assert!(!found.contains("live") && !found.contains("-re"), "{found}");
    }

    #[test]
    fn delays_double_up_to_half_a_minute() {
        let mut back_off = BackOff::default();
        let delays: Vec<_> = (0..7).map(|_| back_off.next(0).as_secs()).collect();
        assert_eq!(delays, [1, 2, 4, 8, 16, 24, 24]);
        assert!(back_off.next(999) <= MAX_DELAY);
        assert_eq!(back_off.failures(), 8);
        back_off.reset();
        assert_eq!(back_off.next(500), Duration::from_millis(1125));
    }
}
