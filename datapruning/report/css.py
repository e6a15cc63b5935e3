"""The page's style sheet: light and dark, from a phone's width to paper."""

CSS = """
:root { color-scheme: light dark; --page: #f6f6f8; --panel: #ffffff; --ink: #1c1c1f; --muted: #5f5f66; --grid: #dcdce1;
  --link: #0a5c99; --warn: #fff3dc; --s1: #0072b2; --s2: #d55e00; --s3: #009e73; --s4: #b9578f; --s5: #b87a00;
  --s6: #2f95cc }
@media (prefers-color-scheme: dark) { :root { --page: #131316; --panel: #1c1c20; --ink: #ececf0; --muted: #a3a3ad;
  --grid: #3a3a42; --link: #7fc1f5; --warn: #3a2f18; --s1: #4ba9ea; --s2: #ff8b4d; --s3: #3fcb9d; --s4: #e79ac6;
  --s5: #f0b429; --s6: #9fdcff } }
* { box-sizing: border-box }
html { -webkit-text-size-adjust: 100% }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto,
  "Liberation Sans", "DejaVu Sans", sans-serif; overflow-wrap: break-word }
main, header, footer, nav { max-width: 1180px; margin: 0 auto; padding: 0 20px }
header { padding-top: 28px } h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 .3em }
h2 { font-size: 1.3rem; margin: 2.4em 0 .5em; padding-top: .6em; border-top: 1px solid var(--grid); line-height: 1.25 }
h3 { font-size: 1.1rem; margin: 1.7em 0 .4em } h4 { font-size: 1rem; margin: 1.2em 0 .3em }
p, ul { max-width: 75ch; margin: .5em 0 } ul { padding-left: 1.25em }
li { margin: .2em 0 } a { color: var(--link) }
code { font: .86em ui-monospace, "Liberation Mono", "DejaVu Sans Mono", monospace }
.lead { font-size: 1.06rem } .muted, footer { color: var(--muted) } .note { font-size: .92rem; color: var(--muted) }
.warn { background: var(--warn); padding: .55em .8em; border-radius: 6px; max-width: 80ch }
nav ul { list-style: none; display: flex; flex-wrap: wrap; gap: .25em 1.1em; padding: .7em 0 0; margin: 0; max-width: none }
.scroll { overflow-x: auto; margin: .8em 0; background: var(--panel); border: 1px solid var(--grid); border-radius: 8px }
.scroll:focus-visible { outline: 2px solid var(--link) }
table { border-collapse: collapse; font-size: .9rem; line-height: 1.4; min-width: 100% }
th, td { padding: .4em .75em; text-align: left; white-space: nowrap; vertical-align: top }
th { font-weight: 600; border-bottom: 1px solid var(--grid) } tbody tr + tr td { border-top: 1px solid var(--grid) }
tbody tr.new td { border-top: 2px solid var(--muted) } section:first-child h2 { margin-top: 1.2em }
td.wide { white-space: normal; min-width: 22ch } .number { text-align: right; font-variant-numeric: tabular-nums }
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 330px), 1fr));
  gap: 14px; margin: .9em 0 }
figure { margin: 0; background: var(--panel); border: 1px solid var(--grid); border-radius: 8px; padding: 8px }
figure svg { display: block; width: 100%; height: auto; max-width: 460px; margin: 0 auto }
figure svg * { stroke-linejoin: round; stroke-linecap: butt }
figure svg text { font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", "DejaVu Sans",
  sans-serif !important }
details { margin: .6em 0 } summary { cursor: pointer; color: var(--link) }
.pictures { display: flex; flex-wrap: wrap; gap: 10px; margin: .5em 0 1.1em; padding: 0; list-style: none; max-width: none }
.pictures li { width: 112px; margin: 0; font-size: .78rem; line-height: 1.35 }
.pictures.large li { width: 168px }
.pictures img { display: block; width: 100%; height: auto; background: var(--grid); border-radius: 4px; margin-bottom: 3px }
.pictures img.crisp { image-rendering: pixelated } .pictures b { display: block; font-weight: 600 }
.differs { color: var(--s2); font-weight: 600 } footer { padding: 2.5em 20px; font-size: .88rem }
@media (max-width: 480px) { main, header, footer, nav { padding-left: 16px; padding-right: 16px } h1 { font-size: 1.45rem }
  .pictures li { width: calc((100% - 20px) / 3) } .pictures.large li { width: calc((100% - 10px) / 2) } }
@media print { @page { margin: 14mm } :root { --page: #fff; --panel: #fff; --ink: #000; --muted: #444; --grid: #ccc;
  --link: #000; --warn: #f4f4f4; --s1: #0072b2; --s2: #d55e00; --s3: #009e73; --s4: #b9578f; --s5: #b87a00; --s6: #2f95cc }
  body { font-size: 10pt } nav { display: none } main, header, footer { max-width: none; padding-left: 0; padding-right: 0 }
  .scroll { overflow: visible; border: 0 } table { font-size: 6.5pt; min-width: 0; width: 100% }
  th, td { padding: 2pt 4pt } th, td:has(code) { white-space: normal } p { orphans: 3; widows: 3 }
  code { overflow-wrap: anywhere }
  .figures { grid-template-columns: 1fr 1fr } figure, tr, .pictures li { break-inside: avoid }
  h2, h3, h4, .note, .above { break-after: avoid }
  details::details-content { content-visibility: visible; block-size: auto } }
"""
