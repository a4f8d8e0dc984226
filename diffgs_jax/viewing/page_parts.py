"""The web page's words, looks and small pieces of HTML."""

import html
import re

from diffgs_jax.errors import DataError, UserError
from diffgs_jax.viewing.assets import Asset, JobProgress

TITLE = "Picture to 3D"
SIDES = ("Front", "From the right", "Back", "From the left")
"""What the fields for four pictures are called, in steps of a quarter turn counterclockwise as seen from above."""
EMPTY = '<div class="stage empty"><p>Your object will appear here.<br>Drag to turn it, scroll to come closer.</p></div>'
ACCENT = "#0f766e"  # white on it reads well (5.5 : 1)

CSS = f"""
.gradio-container {{ max-width: 1180px !important; margin: 0 auto !important; }}
#layout {{ display: grid; gap: 16px; grid-template-columns: minmax(0, 2fr) minmax(0, 3fr);
  grid-template-rows: auto 1fr; grid-template-areas: "ask show" "more show"; }}
#ask {{ grid-area: ask; }} #show {{ grid-area: show; }} #more {{ grid-area: more; }}
#layout > * {{ min-width: 0 !important; width: 100%; }}
.stage {{ display: block; height: 520px; width: 100%; border: 1px solid var(--border-color-primary);
  border-radius: 8px; background: white; }}
.stage.empty {{ display: flex; align-items: center; justify-content: center; text-align: center; }}
.stage.empty p {{ color: #4b5563; }}
.bar {{ height: 8px; border-radius: 4px; background: var(--border-color-primary); overflow: hidden; }}
.bar div {{ height: 100%; border-radius: 4px; background: {ACCENT}; transition: width 0.3s; }}
#examples .gallery {{ display: grid; grid-template-columns: repeat(5, 1fr); gap: 8px; }}
#examples .gallery-item, #examples .gallery-item * {{ display: block; width: 100%; height: 100%; max-width: none; }}
#examples img {{ aspect-ratio: 1; object-fit: contain; }}
#make {{ background: {ACCENT}; color: white; }} #make:disabled {{ background: #4b5563; opacity: 1; }}
button[role=tab].selected {{ color: {ACCENT} !important; }}
footer button, footer a, footer div {{ color: #4b5563 !important; }}
.file-preview td {{ padding: 4px 10px !important; }}
.file-preview .label-clear-button {{ display: none; }}
.html-container {{ padding: 0 !important; }}
.told {{ display: flex; justify-content: space-between; margin: 0 0 6px; }}
.problem {{ margin: 0; padding: 8px 12px; border-left: 4px solid #b91c1c; background: #fef2f2; color: #7f1d1d; }}
@media (max-width: 767px) {{
  #layout {{ grid-template-columns: minmax(0, 1fr); grid-template-rows: none;
    grid-template-areas: "ask" "show" "more"; }}
  .stage {{ height: min(520px, calc(100vw - 26px)); }}
  #layout {{ width: calc(100% + 40px); max-width: none; margin-inline: -20px; }}
  #picture {{ height: 180px !important; min-height: 0; }}
  #layout, #ask, #show {{ gap: 10px; }}
}}
"""

# Gradio gives a picture that can be clicked no name, and some of its own buttons and files none either.
NAMES_SCRIPT = """
(() => {
  const [examples, pictures] = %s;
  const set = (selector, attribute, text) => document.querySelectorAll(selector).forEach((element, index) => {
    const value = typeof text === 'function' ? text(index) : text;
    if (element.getAttribute(attribute) !== value) element.setAttribute(attribute, value);
  });
  const look = () => {
    set('#examples button.gallery-item', 'aria-label', (index) => 'Example: ' + examples[index]);
    set('#examples img', 'alt', '');
    set('.picture input[type=file]', 'aria-label', (index) => pictures[index] + ' to upload');
    set('#film video', 'aria-label', 'One turn of the object');
    set('#views img', 'alt', 'What the model saw, and what it predicted');
  };
  document.documentElement.lang = 'en';
  new MutationObserver(look).observe(document.body, { childList: true, subtree: true });
  look();
})
"""
"""To be filled with the names of the examples and of the fields for pictures, as JSON."""


def introduction(*, several: bool) -> str:
    """Returns what the page says first.

    Args:
        several: the model is shown pictures from several sides.
    """
    if not several:
        return f"""# {TITLE}
Give it a picture of **one object**, cut out or in front of a plain background. A diffusion model imagines the other
sides and hands you a 3D Gaussian splat (an object of soft coloured blobs) to turn and to keep."""
    return f"""# {TITLE}
Give it **four pictures of one object**, taken from one height and distance, a quarter turn apart, cut out or in front
of a plain background. *From the right* is what you see after walking a quarter turn to the right of the front. You get
a 3D Gaussian splat (an object of soft coloured blobs) to turn and to keep."""


def own_words(error: UserError | DataError) -> str:
    """Returns an error of the library as the page says it, without what it advises of a command line's options."""
    clauses = re.split(r"(?<=[;:,]) ", str(error))
    told = " ".join(clause for clause in clauses if "--" not in clause).rstrip(";:,.")
    return f"This picture cannot be used: {told}." if isinstance(error, DataError) else f"This cannot be made: {told}."


def problem(message: str) -> str:
    """Returns a message that screen readers read out at once."""
    return f'<p class="problem" role="alert">{html.escape(message)}</p>'


def progress_bar(progress: JobProgress) -> str:
    """Returns how far a job is."""
    share = round(100 * progress.done / progress.total) if progress.total else 0
    count = f"{progress.done} of {progress.total}" if progress.total else ""
    doing = html.escape(progress.doing)
    return (
        f'<p class="told" role="status"><span>{doing}</span><span>{count}</span></p>'
        f'<div class="bar" role="progressbar" aria-label="{doing}" aria-valuenow="{share}" aria-valuemin="0" '
        f'aria-valuemax="100"><div style="width: {share}%"></div></div>'
    )


def summary(asset: Asset) -> str:
    """Returns what came of a picture, in a line."""
    left_out = f" ({asset.invisible:,} invisible ones left out)" if asset.invisible else ""
    told = f"{asset.gaussians:,} Gaussians{left_out} in {asset.seconds:.1f} s"
    return f'<p class="told" role="status"><span>{told}</span></p>'


def stage(content: str, title: str) -> str:
    """Returns a page within the page, or a sentence in its place.

    Args:
        content: HTML of a whole page, or plain text.
        title: for screen readers.
    """
    if not content.lstrip().lower().startswith("<!doctype"):
        return f'<div class="stage empty"><p>{html.escape(content)}</p></div>'
    # The page goes into the message itself, so that it works behind any proxy and needs no address of its own.
    return f'<iframe class="stage" title="{html.escape(title)}" srcdoc="{html.escape(content)}"></iframe>'
