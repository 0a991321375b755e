//! Catches a panic with its message and place, without printing it.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook, take_hook};
use std::sync::Once;

thread_local! {
    /// What the last panic said, while panics of this thread are caught.
    static SAID: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs `f`; a panic in this thread becomes an error.
pub(crate) fn run(f: impl FnOnce()) -> Result<(), String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let loud = take_hook();
        set_hook(Box::new(move |info| {
            let heard = SAID.with_borrow_mut(|said| {
                said.as_mut().map(|said| said.push_str(&tell(info))).is_some()
            });
            if !heard {
                loud(info);
            }
        }));
    });
    SAID.set(Some(String::new()));
    let result = catch_unwind(AssertUnwindSafe(f));
    let said = SAID.take().unwrap_or_default();
    result.map_err(|_| said)
}

fn tell(info: &PanicHookInfo<'_>) -> String {
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    format!("{} ({place})\n", words(info))
}

fn words<'a>(info: &'a PanicHookInfo<'_>) -> &'a str {
    let payload = info.payload();
    let owned = payload.downcast_ref::<String>().map(String::as_str);
    owned.or(payload.downcast_ref::<&str>().copied()).unwrap_or("a panic without words")
}
