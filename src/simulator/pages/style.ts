/** The one style sheet of the simulator's pages: system fonts, light and dark. */
export const STYLE = `
:root {
  color-scheme: light dark;
  --ground: light-dark(#f4f5f8, #0f1218);
  --card: light-dark(#ffffff, #191d26);
  --ink: light-dark(#1a1f2c, #e8ebf2);
  --faint: light-dark(#5d6577, #98a1b3);
  --line: light-dark(#e0e3ea, #2b313d);
  --accent: light-dark(#2f55d4, #86a4ff);
  --on-accent: light-dark(#ffffff, #0f1218);
  --amber: light-dark(#8a5a00, #f2c14e);
  --amber-ground: light-dark(#fff3d6, #33290f);
  --green: light-dark(#0e7245, #5bd69b);
  --green-ground: light-dark(#dcf5e8, #10301f);
  --red: light-dark(#b3261e, #ff8f86);
  --red-ground: light-dark(#fde5e3, #3a1816);
  --grey-ground: light-dark(#eaedf3, #262c38);
}
* { box-sizing: border-box; }
body {
  margin: 0;
  background: var(--ground);
  color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  -webkit-text-size-adjust: 100%;
}
.banner {
  margin: 0;
  padding: .55rem 1rem;
  text-align: center;
  font-size: .875rem;
  background: var(--amber-ground);
  color: var(--amber);
  border-bottom: 1px solid color-mix(in srgb, var(--amber) 25%, transparent);
}
main { margin: 0 auto; padding: 1.75rem 1.1rem 3rem; }
main.narrow { max-width: 27rem; }
main.wide { max-width: 66rem; }
h1 { margin: 0 0 .35rem; font-size: 1.55rem; line-height: 1.25; letter-spacing: -.015em; font-weight: 650; text-wrap: balance; }
h2 { margin: 2rem 0 .6rem; font-size: 1.05rem; font-weight: 650; }
p { margin: 0 0 1rem; }
.faint { color: var(--faint); }
code { overflow-wrap: anywhere; }
.small { font-size: .875rem; }
a { color: var(--accent); text-underline-offset: 3px; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 14px; padding: 1.25rem; margin: 1.1rem 0; }
.card > :last-child { margin-bottom: 0; }
.nav { display: flex; flex-wrap: wrap; gap: .4rem 1.2rem; margin: 0 0 1.4rem; font-size: .925rem; }
.nav a { text-decoration: none; }
.nav a:hover { text-decoration: underline; }
dl { display: grid; grid-template-columns: auto 1fr; gap: .45rem 1.1rem; margin: 0; font-size: .925rem; }
dt { color: var(--faint); }
dd { margin: 0; text-align: right; font-variant-numeric: tabular-nums; }
.chip { display: inline-block; padding: .12rem .6rem; border-radius: 99px; font-size: .78rem; font-weight: 600; letter-spacing: .01em;
  background: var(--grey-ground); color: var(--faint); white-space: nowrap; }
.chip.wait { background: var(--amber-ground); color: var(--amber); }
.chip.good { background: var(--green-ground); color: var(--green); }
.chip.bad { background: var(--red-ground); color: var(--red); }
form { margin: 0; }
button { display: block; width: 100%; min-height: 3.1rem; padding: .7rem 1rem; margin: 0 0 .7rem; font: inherit; font-weight: 600;
  color: var(--ink); background: transparent; border: 1px solid var(--line); border-radius: 12px; cursor: pointer; }
button:last-child { margin-bottom: 0; }
button:hover { border-color: var(--accent); }
button:focus-visible, a:focus-visible, input:focus-visible, summary:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
button.main { background: var(--accent); border-color: var(--accent); color: var(--on-accent); }
button.main:hover { filter: brightness(1.07); }
button.danger { color: var(--red); }
label { display: block; margin: 0 0 .8rem; font-size: .875rem; color: var(--faint); }
input { display: block; width: 100%; margin-top: .25rem; padding: .65rem .75rem; font: inherit; color: var(--ink); background: var(--ground);
  border: 1px solid var(--line); border-radius: 10px; }
details { margin: 0 0 1.1rem; }
summary { cursor: pointer; color: var(--faint); font-size: .925rem; padding: .3rem 0; }
details[open] summary { margin-bottom: .7rem; }
.card h2 { display: flex; flex-wrap: wrap; gap: .3rem .7rem; align-items: center; margin: 0 0 .9rem; }
.card form:not(:first-child) { margin-top: 1.1rem; }
.card form details { margin: 0; }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(8.5rem, 1fr)); gap: .7rem; margin: 1.1rem 0 0; }
figure { margin: 0; }
figure img { display: block; width: 100%; aspect-ratio: 3 / 2; object-fit: contain; background: var(--ground); border: 1px solid var(--line); border-radius: 10px; }
figcaption { margin-top: .25rem; font-size: .8rem; color: var(--faint); }
.counts { display: flex; flex-wrap: wrap; gap: .5rem; padding: 0; margin: 0; list-style: none; }
.scroll { overflow-x: auto; }
table { width: 100%; border-collapse: collapse; font-size: .925rem; }
th { text-align: left; font-weight: 600; color: var(--faint); font-size: .8rem; }
th, td { padding: .6rem .9rem .6rem 0; border-bottom: 1px solid var(--line); vertical-align: top; white-space: nowrap; }
td.number { font-variant-numeric: tabular-nums; }
tr:last-child td { border-bottom: 0; }
.sms { list-style: none; margin: 0; padding: 0; }
.sms li { background: var(--card); border: 1px solid var(--line); border-radius: 16px 16px 16px 4px; padding: .9rem 1.1rem; margin: 0 0 .8rem; }
.sms .meta { display: flex; justify-content: space-between; gap: 1rem; color: var(--faint); font-size: .8rem; margin: 0 0 .3rem; }
.sms p { margin: 0; }
.code { font-size: 1.55rem; font-weight: 650; letter-spacing: .14em; font-variant-numeric: tabular-nums; }
.empty { text-align: center; padding: 2.5rem 1rem; color: var(--faint); }
`;
