//! Numbers as decimal digits, where they are written so often that the standard formatter would show.

/// The numbers below a hundred, in two digits each.
static PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[b'0'; 2]; 100];
    let mut number = 0;
    while number < pairs.len() {
        pairs[number] = [b'0' + number.to_le_bytes()[0] / 10, b'0' + number.to_le_bytes()[0] % 10];
        number += 1;
    }
    pairs
};

/// Writes the last `N` digits of a number.
pub fn push_digits<const N: usize>(text: &mut Vec<u8>, mut number: u64) {
    let mut digits = [b'0'; N];
    for digit in digits.iter_mut().rev() {
        *digit += (number % 10).to_le_bytes()[0];
        number /= 10;
    }
    text.extend_from_slice(&digits);
}

/// Writes the last two digits of a number.
pub fn push_pair(text: &mut Vec<u8>, number: u64) {
    text.extend_from_slice(&pair(number));
}

/// Writes a number with as many digits as it has.
pub fn push_number(text: &mut Vec<u8>, number: u64) {
    match number {
        0..10 => text.push(pair(number)[1]),
        10..100 => push_pair(text, number),
        100..1000 => {
            text.push(pair(number / 100)[1]);
            push_pair(text, number);
        }
        _ => push_long(text, number),
    }
}

/// Writes a number of four digits or more.
fn push_long(text: &mut Vec<u8>, mut number: u64) {
    // The longest has 20 digits.
    let mut pairs = [[b'0'; 2]; 10];
    let mut first = pairs.len();
    while number >= 10 {
        first -= 1;
        pairs[first] = pair(number);
        number /= 100;
    }
    if number > 0 {
        text.push(pair(number)[1]);
    }
    // One by one: as they have just been put down so, to read many at once would be to wait for that.
    pairs[first..].iter().for_each(|pair| text.extend_from_slice(pair));
}

fn pair(number: u64) -> [u8; 2] {
    PAIRS[usize::from((number % 100).to_le_bytes()[0])]
}

/// Writes the first `count` digits of a fraction of microseconds, and the period before them; nothing if there are none.
pub fn push_fraction(text: &mut Vec<u8>, micros: u64, count: usize) {
    match count {
        0 => {}
        3 => {
            text.push(b'.');
            push_digits::<3>(text, micros / 1000);
        }
        _ => {
            text.push(b'.');
            push_digits::<6>(text, micros);
            text.truncate(text.len() - 6_usize.saturating_sub(count));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pushed(push: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut text = Vec::new();
        push(&mut text);
        String::from_utf8(text).expect("digits")
    }

    #[test]
    fn numbers_are_written_as_the_standard_formatter_does() {
        for number in [0, 1, 9, 10, 99, 100, 101, 999, 1000, 1001, 10_000, 12_345, 99_999, 100_000, u64::MAX]
        {
            assert_eq!(pushed(|text| push_number(text, number)), number.to_string());
        }
        for number in [0, 7, 1234] {
            assert_eq!(pushed(|text| push_digits::<4>(text, number)), format!("{number:04}"));
        }
        assert_eq!(pushed(|text| push_digits::<2>(text, 1234)), "34");
    }

    #[test]
    fn fractions_have_as_many_digits_as_they_are_to_have() {
        for (micros, count, shown) in
            [(123_456, 6, ".123456"), (20_000, 3, ".020"), (900_000, 1, ".9"), (0, 2, ".00"), (0, 0, "")]
        {
            assert_eq!(pushed(|text| push_fraction(text, micros, count)), shown);
        }
    }
}
