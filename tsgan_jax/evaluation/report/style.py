"""The report's style sheet: one column of text, wide figures, system fonts."""

REAL, GENERATED, INK, MUTED, LINE = "#2f6f9f", "#d0652b", "#17212b", "#5c6b78", "#dfe5ea"

STYLE = """
:root{color-scheme:light;--ink:#17212b;--muted:#5c6b78;--line:#dfe5ea;--wash:#f5f7f9;--real:#2f6f9f;--made:#d0652b;
--bad:#b3261e;--good:#1c7a4f}
*{box-sizing:border-box}
html{scroll-behavior:smooth;scroll-padding-top:3.6rem;-webkit-text-size-adjust:100%}
body{margin:0;background:#fff;color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,
"Helvetica Neue",Arial,"DejaVu Sans",sans-serif}
header,main,footer{max-width:72rem;margin:0 auto;padding:0 1.5rem}
header{padding-top:2.6rem}
h1{font-size:2rem;line-height:1.2;letter-spacing:-.02em;margin:.2rem 0 .4rem;overflow-wrap:anywhere}
h2{font-size:1.35rem;letter-spacing:-.01em;margin:0 0 .4rem}
h3{font-size:1rem;margin:1.8rem 0 .5rem}
p{max-width:46rem;margin:.4rem 0 .9rem}
a{color:var(--real);text-underline-offset:.15em}
.kicker{color:var(--muted);font-size:.82rem;letter-spacing:.06em;text-transform:uppercase;margin:0}
.lead,.note,figcaption,.small{color:var(--muted)}
.note,.small,figcaption{font-size:.86rem}
nav{position:sticky;top:0;z-index:2;background:rgba(255,255,255,.96);border-bottom:1px solid var(--line);
margin-top:1.4rem}
nav div{max-width:72rem;margin:0 auto;padding:.55rem 1.5rem;display:flex;gap:1.2rem;overflow-x:auto;
white-space:nowrap;font-size:.9rem;scrollbar-width:thin}
nav a{color:var(--muted);text-decoration:none}
nav a:hover,nav a:focus{color:var(--ink)}
section{padding:2.2rem 0 1.4rem;border-bottom:1px solid var(--line)}
section:last-child{border:0}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(9.6rem,1fr));gap:.8rem;margin:1.4rem 0 .6rem}
.tile{background:var(--wash);border:1px solid var(--line);border-radius:.6rem;padding:.8rem 1rem}
.tile b{display:block;font-size:1.55rem;line-height:1.25;font-weight:650;font-variant-numeric:tabular-nums;
letter-spacing:-.01em}
.tile span{display:block;font-size:.84rem;color:var(--muted)}
.tile .what{color:var(--ink);font-weight:550}
.scroll{overflow-x:auto;margin:.8rem 0 1.2rem;border:1px solid var(--line);border-radius:.5rem}
.scroll:focus-visible{outline:2px solid var(--real)}
table{border-collapse:collapse;width:100%;font-size:.9rem;font-variant-numeric:tabular-nums}
caption{text-align:left;padding:.6rem .8rem;font-weight:600;border-bottom:1px solid var(--line)}
th,td{padding:.4rem .8rem;text-align:right;vertical-align:top;white-space:nowrap}
th{font-weight:600;color:var(--muted);background:var(--wash);font-size:.82rem}
td{border-top:1px solid var(--line)}
.w{text-align:left}
td.w{white-space:normal;min-width:8rem}
td.w .small{display:block}
td .ci,th .ci{color:var(--muted);font-size:.8rem;display:block}
.gap{color:var(--muted)}
figure{margin:0}
figure svg,figure img{display:block;width:100%;height:auto}
img{image-rendering:pixelated;background:#000;border-radius:.3rem}
figcaption{margin-top:.35rem;overflow-wrap:anywhere}
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,19rem),1fr));gap:1.2rem 1.4rem;
margin:1rem 0}
.wide{max-width:48rem}
.plot{max-width:48rem}
ul.note{padding-left:1.2rem;margin:-.4rem 0 1.8rem;max-width:60rem}
.slices{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,23rem),1fr));gap:1rem 1.2rem;margin:1rem 0}
.set{grid-template-columns:repeat(auto-fill,minmax(min(100%,13rem),1fr))}
.row{display:grid;grid-auto-flow:column;grid-auto-columns:1fr;gap:.3rem}

.row img{display:block;width:100%;height:auto}
.row+.note,.slices .note{margin:.3rem 0 0}
.pair{border:1px solid var(--line);border-radius:.6rem;padding:.7rem}
.pair.flagged{border-color:var(--bad);box-shadow:inset 0 0 0 1px var(--bad)}
.flag{color:var(--bad);font-weight:650}
.ok{color:var(--good);font-weight:650}
.key{display:flex;flex-wrap:wrap;gap:.3rem 1rem;font-size:.84rem;color:var(--muted);margin:.4rem 0}
.key i{display:inline-block;width:.8em;height:.8em;border-radius:.2em;margin-right:.4em;border:1px solid rgba(0,0,0,.2)}
dl{margin:.8rem 0;border-top:1px solid var(--line);max-width:60rem}
dl div{display:grid;grid-template-columns:13rem 1fr;gap:1rem;padding:.5rem 0;border-bottom:1px solid var(--line)}
dt{color:var(--muted)}
dd{margin:0;overflow-wrap:anywhere}
details{border:1px solid var(--line);border-radius:.5rem;margin:.8rem 0}
summary{padding:.6rem .9rem;cursor:pointer;font-weight:550}
pre{margin:0;padding:.9rem;overflow-x:auto;font:.82rem/1.5 ui-monospace,SFMono-Regular,Menlo,"DejaVu Sans Mono",
monospace;background:var(--wash);border-top:1px solid var(--line)}
code{font:.88em ui-monospace,SFMono-Regular,Menlo,"DejaVu Sans Mono",monospace}
footer{padding-top:1.4rem;padding-bottom:3rem;color:var(--muted);font-size:.86rem}
@media(max-width:40rem){header,main,footer{padding-left:1rem;padding-right:1rem}nav div{padding-left:1rem}
h1{font-size:1.55rem}.tiles{grid-template-columns:1fr 1fr}.tile b{font-size:1.25rem}
dl div{grid-template-columns:1fr;gap:.1rem}}
@media print{nav{display:none}section{break-inside:avoid-page}}
"""
