// How these programs talk with the test that started them: a question is a line of JSON, and so is its answer.

import { createInterface } from 'node:readline'

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]()

/** What the test answers to a question. */
export async function ask(what, value) {
  process.stdout.write(`${JSON.stringify({ ask: what, with: value })}\n`)
  const { done, value: line } = await lines.next()
  if (done) throw new Error('the test is gone')
  return JSON.parse(line)
}

/** What the test said first. */
export const told = await ask('begin', null)
