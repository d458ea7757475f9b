// A reporter for node:test that prints nothing until the end and then one JSON object: how many tests ran, and the
// names of those that were left out. A file without any test is reported as a test named after the file.
export default async function* count(events) {
  let ran = 0
  const leftOut = []
  for await (const { type, data } of events) {
    if (type !== 'test:pass' && type !== 'test:fail') continue
    if (data.details?.type === 'suite' || data.name === data.file) continue
    if (data.skip !== undefined || data.todo !== undefined) leftOut.push(data.name)
    else ran++
  }
  yield JSON.stringify({ ran, leftOut })
}
