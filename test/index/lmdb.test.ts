import { LmdbIndex } from '../../src/index/lmdb.ts'
import { onCleanup } from '../helpers/cleanup.ts'
import { tempFolder } from '../helpers/temp.ts'
import { indexSuite } from '../suites/store-index.ts'

indexSuite('lmdb', t => {
  const index = LmdbIndex.open(tempFolder(t, 'index'))
  onCleanup(t, () => index.close())
  return index
})
